from proxy.demo import accounts


def test_every_credential_is_visibly_made_up() -> None:
    values = [value for name, value in vars(accounts).items() if name.isupper()]

    assert len(values) == 8
    assert all(value.startswith("demo-") for value in values)
