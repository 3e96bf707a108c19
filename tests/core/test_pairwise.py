"""The generator of pairwise cases."""

from itertools import product

from pairwise import pairs_of, pairwise

PARAMETERS = {"a": "abcdefg", "b": [1, 2, 3], "c": [True, False], "d": [None, 0.5]}


def test_every_pair_is_in_a_case():
    cases = pairwise(PARAMETERS)
    wanted = {pair for case in product(*PARAMETERS.values()) for pair in pairs_of(case)}
    assert {pair for case in cases for pair in pairs_of(case)} == wanted
    assert 7 * 3 <= len(cases) < 7 * 3 * 2 * 2 / 3


def test_the_cases_are_the_same_every_time():
    assert pairwise(PARAMETERS) == pairwise(PARAMETERS)
