"""A decoding step recorded once and replayed: on a GPU most of its time would go into starting its small kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.modeling.growing import Growing
from stages.modeling.passes import recording
from stages.modeling.roles import Backbone


class Steps:
    """Hidden states [B, D] of each row's newest token; on a GPU by a CUDA graph wherever the rows' storage stands.

    The states are overwritten by the next step.
    """

    def __init__(self, backbone: Backbone, role: str) -> None:
        self._backbone, self._role = backbone, role
        self._storage: int | None = None  # that of the last step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._states_BD: Tensor | None = None

    def __call__(self, rows: Growing) -> Tensor:
        if not self._backbone.is_recordable:
            return self._backbone.hidden(self._role, rows)
        if rows.storage != self._storage:  # the first step on new storage also warms up what a recording must find warm
            self._storage, self._graph = rows.storage, None
            return self._backbone.hidden(self._role, rows)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with recording(self._graph, rows.device, self._backbone.location.label):
                self._states_BD = self._backbone.hidden(self._role, rows)
        self._graph.replay()
        assert self._states_BD is not None, "recorded"
        return self._states_BD
