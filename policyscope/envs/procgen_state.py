"""The bytes in which Procgen keeps a level, read and written field by field.

The order of the fields is that of the serialisers in openai/procgen (Cobbe et al., 2020,
arXiv 1912.01588; MIT), version 0.10.7. Numbers are 32-bit little-endian, strings and lists begin
with their length. Reading and writing again gives the same bytes.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

NUMBER, REAL, TEXT, RANDOM, LIST, ENTITIES = "i", "f", "s", "R", "V", "E"

OPTIONS = (
    "paint_vel_info",
    "use_generated_assets",
    "use_monochrome_assets",
    "restrict_themes",
    "use_backgrounds",
    "center_agent",
    "debug_mode",
    "distribution_mode",
    "use_sequential_levels",
    "use_easy_jump",
    "plain_assets",
    "physics_mode",
    "grid_step",
    "level_seed_low",
    "level_seed_high",
    "game_type",
    "game_n",
)

HEAD: tuple[tuple[str, str], ...] = (
    (NUMBER, "version"),
    (TEXT, "game_name"),
    *((NUMBER, name) for name in OPTIONS),
    (RANDOM, "level_seed_rand_gen"),
    (RANDOM, "rand_gen"),
    (REAL, "reward"),
    (NUMBER, "done"),
    (NUMBER, "level_complete"),
    (NUMBER, "action"),
    (NUMBER, "timeout"),
    (NUMBER, "current_level_seed"),
    (NUMBER, "prev_level_seed"),
    (NUMBER, "episodes_remaining"),
    (NUMBER, "episode_done"),
    (NUMBER, "last_reward_timer"),
    (REAL, "last_reward"),
    (NUMBER, "default_action"),
    (NUMBER, "fixed_asset_seed"),
    (NUMBER, "cur_time"),
    (NUMBER, "is_waiting_for_step"),
    (NUMBER, "grid_size"),
    (ENTITIES, "entities"),
    (NUMBER, "use_procgen_background"),
    (NUMBER, "background_index"),
    (REAL, "bg_tile_ratio"),
    (REAL, "bg_pct_x"),
    (REAL, "char_dim"),
    (NUMBER, "last_move_action"),
    (NUMBER, "move_action"),
    (NUMBER, "special_action"),
    (REAL, "mixrate"),
    (REAL, "maxspeed"),
    (REAL, "max_jump"),
    (REAL, "action_vx"),
    (REAL, "action_vy"),
    (REAL, "action_vrot"),
    (REAL, "center_x"),
    (REAL, "center_y"),
    (NUMBER, "random_agent_start"),
    (NUMBER, "has_useful_vel_info"),
    (NUMBER, "step_rand_int"),
    (RANDOM, "asset_rand_gen"),
    (NUMBER, "main_width"),
    (NUMBER, "main_height"),
    (NUMBER, "out_of_bounds_object"),
    (REAL, "unit"),
    (REAL, "view_dim"),
    (REAL, "x_off"),
    (REAL, "y_off"),
    (REAL, "visibility"),
    (REAL, "min_visibility"),
    (NUMBER, "w"),
    (NUMBER, "h"),
    (LIST, "grid"),
)
ENTITY: tuple[tuple[str, str], ...] = (
    *((REAL, name) for name in ("x", "y", "vx", "vy", "rx", "ry")),
    *((NUMBER, name) for name in ("type", "image_type", "image_theme", "render_z", "will_erase")),
    (NUMBER, "collides_with_entities"),
    *((REAL, name) for name in ("collision_margin", "rotation", "vrot")),
    (NUMBER, "is_reflected"),
    *((NUMBER, name) for name in ("fire_time", "spawn_time", "life_time", "expire_time")),
    (NUMBER, "use_abs_coords"),
    (REAL, "friction"),
    *((NUMBER, name) for name in ("smart_step", "avoids_collisions", "auto_erase")),
    *((REAL, name) for name in ("alpha", "health", "theta", "grow_rate", "alpha_decay")),
    (REAL, "climber_spawn_x"),
)
TAILS: dict[str, tuple[tuple[str, str], ...]] = {
    "heist": ((NUMBER, "num_keys"), (NUMBER, "world_dim"), (LIST, "has_keys")),
    "maze": ((NUMBER, "maze_dim"), (NUMBER, "world_dim")),
    "coinrun": (
        (REAL, "last_agent_y"),
        *((NUMBER, name) for name in ("wall_theme", "has_support", "facing_right", "is_on_crate")),
        (REAL, "gravity"),
        (REAL, "air_control"),
    ),
}
ENTITY_TYPES = np.dtype([(name, "<i4" if kind == NUMBER else "<f4") for kind, name in ENTITY])

SPACE, WALL = 100, 51


@dataclass
class Level:
    """A level at one moment. Positions are in cells, x to the right and y upwards."""

    fields: dict[str, Any]
    rest: bytes

    @property
    def game(self) -> str:
        """Which game it is."""
        return self.fields["game_name"].decode()

    @property
    def entities(self) -> np.ndarray:
        """Everything that moves or can be taken, one record each; the first is the agent."""
        return self.fields["entities"]

    @property
    def grid(self) -> Int32[np.ndarray, "height width"]:
        """What fills each cell, [y, x]; a view, so that changes are the level's."""
        return self.fields["grid"].reshape(self.fields["h"], self.fields["w"])

    def find(self, type: int, theme: int | None = None) -> np.ndarray:
        """The entities of a type, and theme, that are still there: their indices."""
        found = (self.entities["type"] == type) & (self.entities["will_erase"] == 0)
        if theme is not None:
            found &= self.entities["image_theme"] == theme
        return np.flatnonzero(found)


def parse(data: bytes) -> Level:
    """The level that `data` describes; what is a game's own is only read where it is known."""
    fields: dict[str, Any] = {}
    at = read_fields(data, 0, HEAD, fields)
    at = read_fields(data, at, TAILS.get(fields["game_name"].decode(), ()), fields)
    return Level(fields, data[at:])


def build(level: Level) -> bytes:
    """The bytes that describe `level`."""
    parts: list[bytes] = []
    for kind, name in (*HEAD, *TAILS.get(level.game, ())):
        value = level.fields[name]
        if kind in (NUMBER, REAL):
            parts.append(struct.pack(f"<{kind}", value))
        elif kind == TEXT:
            parts.append(struct.pack("<i", len(value)) + value)
        elif kind == RANDOM:
            parts.append(struct.pack("<ii", value[0], len(value[1])) + value[1])
        else:
            parts.append(struct.pack("<i", len(value)) + value.tobytes())
    return b"".join(parts) + level.rest


def read_fields(
    data: bytes, at: int, layout: tuple[tuple[str, str], ...], into: dict[str, Any]
) -> int:
    """Reads the fields of `layout` from `at` on; returns where they end."""
    for kind, name in layout:
        if kind in (NUMBER, REAL):
            (into[name],) = struct.unpack_from(f"<{kind}", data, at)
            at += 4
            continue
        if kind == RANDOM:
            is_seeded, length = struct.unpack_from("<ii", data, at)
            at += 8
            into[name] = (is_seeded, data[at : at + length])
            at += length
            continue
        (length,) = struct.unpack_from("<i", data, at)
        at += 4
        if kind == TEXT:
            into[name] = data[at : at + length]
            at += length
        else:
            dtype = np.dtype("<i4") if kind == LIST else ENTITY_TYPES
            # A copy: bytes cannot be written into.
            into[name] = np.frombuffer(data, dtype, length, at).copy()
            at += length * dtype.itemsize
    return at
