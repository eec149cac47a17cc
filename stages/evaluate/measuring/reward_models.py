"""Reward models that score the candidates' answers, each in deviations of the answers that it was normalised on."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contract import Artifact, Context
from stages.evaluate.foretold import SCORES
from stages.evaluate.verdict.primary import PROXY
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.rollout.score import normalised_scores
from stages.rollout.sequences import Sequences


@dataclass(frozen=True)
class RewardModel:
    """One of them, loaded on the backbone that the candidates share."""

    name: str  # as the report calls its figure
    role: str
    head: ScalarHead

    def scores(self, backbone: Backbone, sequences: Sequences) -> list[float]:
        """One score for each row."""
        return list(normalised_scores(backbone, self.role, self.head, sequences).tolist())


def scored_by(context: Context) -> dict[str, Artifact]:
    """The reward models that the recipe names, by their figure, the proxy first.

    A recipe's only one is the proxy by default: where it is named as the second, it is that alone.
    """
    found = {label: artifact for field, label in SCORES.items() for artifact in context.inputs.get(field, ())}
    proxy, second = (found.get(label) for label in SCORES.values())
    if proxy is not None and second is not None and proxy.path == second.path:
        del found[PROXY]
    return found


def load_reward_models(context: Context, backbone: Backbone, chat: Chat) -> list[RewardModel]:
    """Those of `scored_by`, in its order."""
    found = []
    for place, (label, artifact) in enumerate(scored_by(context).items()):
        assert artifact.path is not None, "a reward model is always a published artifact"
        chat.check_same(artifact)
        backbone.load(f"judge_{place}", artifact)
        head = ScalarHead.load(artifact.path, backbone.hidden_size).to(backbone.device)
        found.append(RewardModel(label, f"judge_{place}", head))
    return found
