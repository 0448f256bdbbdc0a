"""Why did it do that? One episode of CartPole, explained by the features of its last hidden layer.

Run: python examples/why_did_it_do_that.py
"""

import tempfile

import torch

import policyscope as ps

study = ps.Study.create(tempfile.mkdtemp() + "/study", agent="zoo:cartpole")
recording = study.record(sites=["fc2:in", "fc3:in"], episodes=60)
codes = study.fit(ps.ReLU(width=8), reads="fc2:in", writes="fc3:in", name="layer2/k8")
table = study.features(codes)

episode = recording.episodes[0]
steps = recording.episode(episode.index)
print(f"Episode {episode.index}: {episode.length} steps, {episode.ending}\n")

active = codes.encode(torch.tensor(steps["fc2:in"]))
effect = torch.tensor([card.direct_effect for card in table.cards])  # [feature, action]
for step in range(max(0, episode.length - 8), episode.length):
    # What each feature adds to the logit of right over that of left.
    push = active[step] * (effect[:, 1] - effect[:, 0])
    went_right = int(steps["action"][step]) == 1
    toward = push if went_right else -push  # what speaks for the action that was taken
    most = int(toward.argmax())
    label = table[most].label
    said = label.text if label else "unlabelled"
    chosen = "right" if went_right else "left"
    print(f"step {step:3d}  pushed {chosen:5}  because #{most} “{said}” adds {toward[most]:+.2f}")
