"""Reward models that score the candidates' answers, each in deviations of the answers that it was normalised on."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contract import Context
from stages.evaluate.foretold import SCORES
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


def load_reward_models(context: Context, backbone: Backbone, chat: Chat) -> list[RewardModel]:
    """Those that the recipe names, the proxy first."""
    found = []
    for field, label in SCORES.items():
        for artifact in context.inputs.get(field, ()):
            assert artifact.path is not None, "a reward model is always a published artifact"
            chat.check_same(artifact)
            backbone.load(f"judge_{field}", artifact)
            head = ScalarHead.load(artifact.path, backbone.hidden_size).to(backbone.device)
            found.append(RewardModel(label, f"judge_{field}", head))
    return found
