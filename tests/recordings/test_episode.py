import json

from policyscope.recordings.episode import Episode


def test_load_after_save_is_identity():
    episode = Episode(3, 2**40, 1, 17, 17.5, "pole_left", True, False)
    facts = json.loads(json.dumps(episode.to_json()))
    assert facts["return"] == 17.5
    assert Episode.from_json(facts) == episode
