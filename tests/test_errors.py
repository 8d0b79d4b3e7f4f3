import pytest

from portrait_lora import errors


def test_message_says_what_where_got_needed_remedy():
    error = errors.InputError(
        "face is too small", where="a.jpg", got="84 px", needed="160 px", remedy="Come closer."
    )
    assert str(error) == "a.jpg: face is too small: got 84 px; needed 160 px. Come closer."


def test_exit_codes_are_stable():
    kinds = (
        errors.PortraitError,
        errors.InputError,
        errors.ConfigError,
        errors.PhotosError,
        errors.Interrupted,
    )
    assert [k("x").exit_code for k in kinds] == [1, 2, 2, 3, 130]


def test_require_extra_names_the_command():
    errors.require_extra("json", "none")
    with pytest.raises(errors.InputError, match=r"pip install 'portrait-lora\[web\]'"):
        errors.require_extra("a_package_that_is_not_there", "web")
