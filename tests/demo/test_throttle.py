from proxy.demo.throttle import Quota, Throttle

from .doubles import Clock


def test_five_in_ten_seconds_and_then_no_more(clock: Clock) -> None:
    throttle = Throttle(clock)

    quotas = [throttle.take("a") for _ in range(6)]

    assert [quota.remaining for quota in quotas] == [4, 3, 2, 1, 0, 0]
    assert [quota.allowed for quota in quotas] == [True] * 5 + [False]


def test_the_window_slides(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.take("a")
        clock.now += 1

    refused = throttle.take("a")
    clock.now += refused.reset
    allowed, again = throttle.take("a"), throttle.take("a")

    assert refused == Quota(allowed=False, remaining=0, reset=5)
    assert allowed == Quota(allowed=True, remaining=0, reset=1)
    assert not again.allowed


def test_the_wait_is_rounded_up(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.take("a")

    clock.now += 9.5
    assert throttle.take("a").reset == 1
    clock.now -= 1
    assert throttle.take("a").reset == 2


def test_each_client_has_its_own_window(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(6):
        throttle.take("a")

    assert throttle.take("b").allowed
