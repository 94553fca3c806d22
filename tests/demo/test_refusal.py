from proxy.demo.refusal import Refusal


def test_a_refusal_is_json_for_people_with_its_details_and_fields() -> None:
    refusal = Refusal(401, "word", "A sentence.", headers={"X-A": "1"}, details={"more": 2})

    response = refusal.response()

    assert response.status == 401
    assert response.content_type == "application/json"
    assert response.headers["X-A"] == "1"
    assert response.text == '{\n  "error": "word",\n  "hint": "A sentence.",\n  "more": 2\n}\n'
