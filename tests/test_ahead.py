"""Work done ahead of time: in order, and nothing goes on after an error."""

import threading
import time

import pytest

from detr_lite.files.ahead import ahead


def test_results_come_in_the_order_of_the_items():
    """Though the first take longest."""

    def slow(number):
        time.sleep(0.02 if number < 3 else 0)
        return number * number

    found = list(ahead(slow, range(20), threads=4, most=6))
    assert found == [n * n for n in range(20)]
    assert list(ahead(slow, [])) == []


def test_work_is_done_before_it_is_asked_for_but_not_too_much():
    done, taken = [], []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = ahead(done.append, items(), threads=2, most=4)
    next(results)
    deadline = time.time() + 10
    while len(done) < 5 and time.time() < deadline:
        time.sleep(0.001)
    assert len(taken) == 5  # the one that was asked for, and four more
    assert sorted(done) == taken
    results.close()


class Trouble(Exception):
    pass


@pytest.mark.parametrize("most", [0, 3, 50])
def test_an_error_reaches_whoever_asks_for_the_result(most):
    """After the results before it; and it ends the work."""
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise Trouble(number)
        return number

    found, threads = [], threading.active_count()
    with pytest.raises(Trouble):
        found.extend(ahead(work, range(1000), most=most))
    assert found == [0, 1, 2, 3, 4]
    assert threading.active_count() == threads
    ended = len(begun)
    assert ended <= 6 + most
    time.sleep(0.05)
    assert len(begun) == ended


def test_an_error_of_the_items_reaches_the_consumer_too():
    def items():
        yield from range(3)
        raise Trouble

    found = []
    with pytest.raises(Trouble):
        found.extend(ahead(str, items(), most=1))
    assert found == ["0", "1"]


def test_who_stops_listening_leaves_nothing_running():
    begun, threads = [], threading.active_count()
    for result in ahead(lambda n: begun.append(n) or n, range(1000)):
        if result == 3:
            break
    assert threading.active_count() == threads
    assert len(begun) <= 4 + 8
