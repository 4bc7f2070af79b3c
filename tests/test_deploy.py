"""A shape is read and written as BATCHxTOKENS; a deployment names what latency is measured on."""

import json

import pytest
from pydantic import ValidationError

from compress.deploy import Deploy, Shape, check_shapes, visible_cores
from compress.errors import DataError


@pytest.mark.parametrize("text", ["1x1", "1x16", "32x128"])
def test_reading_a_shape_undoes_writing_it(text: str) -> None:
    assert str(Shape.parse(text)) == text


@pytest.mark.parametrize("text", ["", "16", "1x", "x16", "0x16", "1x0", "-1x16", "1x16x2", "1 x 16", "1X16", "1.5x16"])
def test_what_is_no_shape_is_refused_with_the_wanted_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"BATCHxTOKENS.*such as 1x128"):
        Shape.parse(text)


def test_a_shape_has_at_least_one_token() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Shape(1, 0)


def test_shapes_are_ordered_by_batch_then_tokens() -> None:
    assert sorted([Shape(32, 16), Shape(1, 128), Shape(1, 16)]) == [Shape(1, 16), Shape(1, 128), Shape(32, 16)]


def test_a_deployment_survives_being_written_and_read() -> None:
    deploy = Deploy(threads=2, precision="int8", shapes=["1x16", "32x128"])
    assert Deploy.model_validate_json(deploy.model_dump_json()) == deploy
    assert Deploy.model_validate(deploy.model_dump()) == deploy
    assert json.loads(deploy.model_dump_json())["shapes"] == ["1x16", "32x128"]


def test_the_schema_says_how_a_shape_is_written() -> None:
    shapes = Deploy.model_json_schema()["properties"]["shapes"]
    assert shapes["items"]["type"] == "string"
    assert shapes["default"] == ["1x16", "1x128", "32x128"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shapes": ["16"]}, "BATCHxTOKENS"),
        ({"shapes": [16]}, "BATCHxTOKENS"),
        ({"shapes": []}, "at least one"),
        ({"shapes": ["1x16", "1x16"]}, "2 times"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"precision": "int3"}, "int4"),
        ({"cores": 2}, "cores"),
    ],
)
def test_each_wrong_field_is_one_fault(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as fault:
        Deploy.model_validate(fields)
    assert fault.value.error_count() == 1


def test_threads_left_out_are_the_cores_this_process_may_use() -> None:
    assert Deploy(threads=3).thread_count == 3
    assert Deploy().thread_count == visible_cores() >= 1


def test_a_shape_is_refused_where_the_model_can_not_read_it() -> None:
    shapes = (Shape(1, 16), Shape(8, 64))
    check_shapes(shapes, 64)
    with pytest.raises(DataError, match="shape 8x64: the model reads 63 tokens at most"):
        check_shapes(shapes, 63)


def test_a_model_of_pictures_has_one_length() -> None:
    check_shapes((Shape(1, 17), Shape(8, 17)), 17, only=True)
    with pytest.raises(DataError, match="ask for 1x17"):
        check_shapes((Shape(1, 16),), 17, only=True)
