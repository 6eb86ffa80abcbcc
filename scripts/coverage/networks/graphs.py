"""Networks on the nodes of a graph, [B, nodes, F], and on clouds of points, [B, 3, points]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NODES, CLASSES = 9, 5


def _edges() -> Tensor:
    ring = torch.eye(NODES).roll(1, 0)
    return torch.eye(NODES) + ring + ring.T


class Convolved(nn.Module):
    """GCN: a normalised adjacency that never changes, read off a buffer."""

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 12), nn.Linear(12, CLASSES)
        edges = _edges()
        roots = edges.sum(1).rsqrt()
        self.register_buffer("edges", roots[:, None] * edges * roots)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.edges @ self.one(x))
        return torch.matmul(self.edges, self.two(x)).mean(1)


class Isomorphism(nn.Module):
    """GIN: sums of neighbours through a network of two layers, with an ε that is learned."""

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.tensor(0.2))
        self.inner = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU())
        self.head = nn.Linear(12, CLASSES)
        self.register_buffer("edges", _edges() - torch.eye(NODES))

    def forward(self, x: Tensor) -> Tensor:
        x = (1 + self.epsilon) * x + torch.einsum("ij,bjf->bif", self.edges, x)
        x = self.inner(x.flatten(0, 1)).view(x.shape[0], NODES, -1)
        return self.head(x.sum(1))


class Attended(nn.Module):
    """GAT: attention over the neighbours, masked with −∞."""

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.values, self.head = nn.Linear(6, 12, bias=False), nn.Linear(12, CLASSES)
        self.source, self.target = nn.Linear(12, 1), nn.Linear(12, 1)
        self.register_buffer("edges", _edges() > 0)

    def forward(self, x: Tensor) -> Tensor:
        values = self.values(x)
        scores = F.leaky_relu(self.source(values) + self.target(values).transpose(1, 2), 0.2)
        scores = scores.masked_fill(~self.edges, -torch.inf)
        return self.head(F.relu(torch.bmm(scores.softmax(-1), values))).mean(1)


class PointNet(nn.Module):
    """A transform of its own for every cloud, and the largest value over the points."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.turn = nn.Linear(8, 9)
        self.points = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        turn = self.turn(torch.max(self.guess(x), 2, keepdim=True)[0].view(-1, 8))
        same = torch.eye(3, device=x.device).view(1, 9).repeat(batch, 1)
        turned = torch.bmm(x.transpose(2, 1), (turn + same).view(-1, 3, 3)).transpose(2, 1)
        return self.head(torch.max(self.points(turned), 2)[0])


class DeepSets(nn.Module):
    """A sum over the members of a set."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(6, 12), nn.ELU(), nn.Linear(12, 12), nn.ReLU())
        self.all = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.each(x).sum(dim=-2)).squeeze(-1)


def _nodes(model: nn.Module) -> tuple[nn.Module, Tensor]:
    return model, torch.randn(3, NODES, 6)


NETWORKS = {
    "GCN": lambda: _nodes(Convolved()),
    "GIN": lambda: _nodes(Isomorphism()),
    "GAT": lambda: _nodes(Attended()),
    "PointNet with a spatial transformer": lambda: (PointNet(), torch.randn(3, 3, 20)),
    "deep sets": lambda: _nodes(DeepSets()),
}
