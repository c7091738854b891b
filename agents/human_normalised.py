"""Human-normalised Atari scores: 0 is random play, 1 a professional games tester.

The reference scores are the 57 pairs with which papers since Wang et al. 2016 (arXiv 1511.06581) normalise, as listed
in DQN Zoo's `atari_data.py`: 30 no-op starts, no sticky actions, games of up to 108,000 frames. The human scores in
Mnih et al. 2015 are others (9.3 in Pong, where these say 14.6): numbers normalised by them cannot be compared.
"""

from typing import NamedTuple


class ReferenceScores(NamedTuple):
    """The raw scores of one game that mean 0 and 1."""

    random: float
    human: float


def human_normalised_score(game: str, score: float) -> float | None:
    """Returns (score - random) / (human - random) for an ALE game name such as "Pong".

    None for a game that was never played by the tester: ale-py has more games than the 57 of the literature.
    """
    reference = REFERENCE_SCORES.get(game)
    if reference is None:
        return None
    return (score - reference.random) / (reference.human - reference.random)


# Random play of Video Pinball is 0 in some later tables and 16,256.9 in Mnih et al. 2015 and DQN Zoo.
REFERENCE_SCORES: dict[str, ReferenceScores] = {
    "Alien": ReferenceScores(227.8, 7127.7),
    "Amidar": ReferenceScores(5.8, 1719.5),
    "Assault": ReferenceScores(222.4, 742.0),
    "Asterix": ReferenceScores(210.0, 8503.3),
    "Asteroids": ReferenceScores(719.1, 47388.7),
    "Atlantis": ReferenceScores(12850.0, 29028.1),
    "BankHeist": ReferenceScores(14.2, 753.1),
    "BattleZone": ReferenceScores(2360.0, 37187.5),
    "BeamRider": ReferenceScores(363.9, 16926.5),
    "Berzerk": ReferenceScores(123.7, 2630.4),
    "Bowling": ReferenceScores(23.1, 160.7),
    "Boxing": ReferenceScores(0.1, 12.1),
    "Breakout": ReferenceScores(1.7, 30.5),
    "Centipede": ReferenceScores(2090.9, 12017.0),
    "ChopperCommand": ReferenceScores(811.0, 7387.8),
    "CrazyClimber": ReferenceScores(10780.5, 35829.4),
    "Defender": ReferenceScores(2874.5, 18688.9),
    "DemonAttack": ReferenceScores(152.1, 1971.0),
    "DoubleDunk": ReferenceScores(-18.6, -16.4),
    "Enduro": ReferenceScores(0.0, 860.5),
    "FishingDerby": ReferenceScores(-91.7, -38.7),
    "Freeway": ReferenceScores(0.0, 29.6),
    "Frostbite": ReferenceScores(65.2, 4334.7),
    "Gopher": ReferenceScores(257.6, 2412.5),
    "Gravitar": ReferenceScores(173.0, 3351.4),
    "Hero": ReferenceScores(1027.0, 30826.4),
    "IceHockey": ReferenceScores(-11.2, 0.9),
    "Jamesbond": ReferenceScores(29.0, 302.8),
    "Kangaroo": ReferenceScores(52.0, 3035.0),
    "Krull": ReferenceScores(1598.0, 2665.5),
    "KungFuMaster": ReferenceScores(258.5, 22736.3),
    "MontezumaRevenge": ReferenceScores(0.0, 4753.3),
    "MsPacman": ReferenceScores(307.3, 6951.6),
    "NameThisGame": ReferenceScores(2292.3, 8049.0),
    "Phoenix": ReferenceScores(761.4, 7242.6),
    "Pitfall": ReferenceScores(-229.4, 6463.7),
    "Pong": ReferenceScores(-20.7, 14.6),
    "PrivateEye": ReferenceScores(24.9, 69571.3),
    "Qbert": ReferenceScores(163.9, 13455.0),
    "Riverraid": ReferenceScores(1338.5, 17118.0),
    "RoadRunner": ReferenceScores(11.5, 7845.0),
    "Robotank": ReferenceScores(2.2, 11.9),
    "Seaquest": ReferenceScores(68.4, 42054.7),
    "Skiing": ReferenceScores(-17098.1, -4336.9),
    "Solaris": ReferenceScores(1236.3, 12326.7),
    "SpaceInvaders": ReferenceScores(148.0, 1668.7),
    "StarGunner": ReferenceScores(664.0, 10250.0),
    "Surround": ReferenceScores(-10.0, 6.5),
    "Tennis": ReferenceScores(-23.8, -8.3),
    "TimePilot": ReferenceScores(3568.0, 5229.2),
    "Tutankham": ReferenceScores(11.4, 167.6),
    "UpNDown": ReferenceScores(533.4, 11693.2),
    "Venture": ReferenceScores(0.0, 1187.5),
    "VideoPinball": ReferenceScores(16256.9, 17667.9),
    "WizardOfWor": ReferenceScores(563.5, 4756.5),
    "YarsRevenge": ReferenceScores(3092.9, 54576.9),
    "Zaxxon": ReferenceScores(32.5, 9173.3),
}
