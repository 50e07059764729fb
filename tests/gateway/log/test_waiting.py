from gateway.log.waiting import Waiting


def test_what_fits_waits_in_order():
    waiting = Waiting(10)
    assert waiting.put("a", 6)
    assert waiting.put("b", 4)
    assert not waiting.put("c", 1)
    assert (len(waiting), waiting.size) == (2, 10)
    assert waiting.first(5) == ["a"]  # at least one
    assert waiting.first(9) == ["a"]
    assert waiting.first(10) == ["a", "b"]
    waiting.done(1)
    assert (len(waiting), waiting.size) == (1, 4)
    assert waiting.put("c", 6)
    assert waiting.first(100) == ["b", "c"]


def test_one_that_is_larger_than_all_is_taken_alone():
    waiting = Waiting(10)
    assert waiting.put("large", 500)
    assert not waiting.put("b", 1)
    waiting.done(1)
    assert waiting.first(10) == []
    assert waiting.put("b", 1)
