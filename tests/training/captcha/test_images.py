import numpy as np
import pytest
from PIL import Image

from training.captcha.images import joined, load, named_labels, read_grey


def put(folder, name, grey=128, size=(200, 50)):
    Image.new("L", size, grey).save(folder / name)


def test_a_file_name_is_the_label_up_to_an_underscore(tmp_path):
    put(tmp_path, "482913.png")
    put(tmp_path, "007007_17.jpg")
    images = load(tmp_path)
    assert images.names == ("007007_17.jpg", "482913.png")
    np.testing.assert_array_equal(images.labels, [[0, 0, 7, 0, 0, 7], [4, 8, 2, 9, 1, 3]])
    assert (images.pixels.shape, images.pixels.dtype) == ((2, 50, 200), np.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("482.png", "4 to 8"),
        ("482913482.png", "4 to 8"),
        ("48 913.png", "visible characters"),
        ("４８２９１３.png", "visible characters in normal form"),
    ],
)
def test_what_is_no_label_is_refused_by_name(tmp_path, name, expected):
    put(tmp_path, name)
    with pytest.raises(ValueError, match=f"{name}: label .* expected {expected}"):
        load(tmp_path)


def test_length_and_alphabet_are_read_from_the_labels(tmp_path):
    put(tmp_path, "0aB7.png")
    put(tmp_path, "00z7_3.png")
    images = load(tmp_path)
    assert (images.places, images.alphabet) == (4, "07Baz")
    assert images.texts == ["00z7", "0aB7"]
    np.testing.assert_array_equal(images.labels, [[0, 0, 4, 1], [0, 3, 2, 1]])


def test_digits_are_always_all_ten(tmp_path):
    put(tmp_path, "00110011.png")
    images = load(tmp_path)
    assert (images.places, images.alphabet) == (8, "0123456789")
    assert images.texts == ["00110011"]


def test_labels_of_two_lengths_are_refused(tmp_path):
    put(tmp_path, "12345.png")
    put(tmp_path, "123456.png")
    with pytest.raises(ValueError, match=r"123456\.png: label '123456' has 6 .* '12345' has 5"):
        load(tmp_path)


def test_labels_are_spelt_in_a_readers_alphabet_or_refused(tmp_path):
    put(tmp_path, "aabb.png")
    images = load(tmp_path)
    spelt = images.spelt("0abc")
    np.testing.assert_array_equal(spelt.labels, [[1, 1, 2, 2]])
    assert (spelt.texts, images.texts) == (["aabb"], ["aabb"])
    with pytest.raises(ValueError, match=r"aabb\.png: label 'aabb', 'b' is none of 0a"):
        images.spelt("0a")


def test_folders_of_few_characters_are_joined_in_the_alphabet_of_both(tmp_path):
    for name in ("aabb", "bbcc"):
        (tmp_path / name).mkdir()
        put(tmp_path / name, f"{name}.png")
    both = joined([load(tmp_path / "aabb"), load(tmp_path / "bbcc")])
    assert (both.alphabet, both.texts) == ("abc", ["aabb", "bbcc"])


def test_a_labels_csv_replaces_the_names(tmp_path):
    put(tmp_path, "first.png")
    put(tmp_path, "other.png")
    (tmp_path / "labels.csv").write_text("file,label\nfirst.png,123456\nother.png,000001\n")
    assert named_labels(tmp_path) == {"first.png": "123456", "other.png": "000001"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("first.png,123", r"line 2: label '123' \(3 characters\)"),
        ("absent.png,123456", "line 2: no file 'absent.png'"),
        ("first.png", "line 2: 1 columns, expected 2"),
    ],
)
def test_a_wrong_row_of_labels_csv_is_refused_by_line(tmp_path, row, reason):
    put(tmp_path, "first.png")
    (tmp_path / "labels.csv").write_text(f"file,label\n{row}\n")
    with pytest.raises(ValueError, match=reason):
        load(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ValueError, match="no images"):
        load(tmp_path)


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "482913.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"482913\.png: image: 5 bytes beginning b'hello'"):
        load(tmp_path)


def test_another_size_is_resized_and_keeps_its_grey(tmp_path):
    put(tmp_path, "482913.png", grey=77, size=(400, 100))
    np.testing.assert_array_equal(read_grey(tmp_path / "482913.png"), np.full((50, 200), 77))


@pytest.mark.parametrize("size", [(200, 50), (300, 75), (150, 38), (250, 40)])
def test_pixels_are_those_that_the_served_step_makes(step, tmp_path, size):
    colours = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path = tmp_path / "482913.png"
    Image.fromarray(colours).save(path)
    served = step("captcha_preprocess")
    np.testing.assert_array_equal(read_grey(path), served.pixels_of(path.read_bytes(), 200, 50)[0])


def test_transparent_parts_are_white(tmp_path):
    Image.new("LA", (200, 50), (0, 0)).save(tmp_path / "482913.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "482913.png"), np.full((50, 200), 255))


def test_folders_are_joined_with_their_sources(tmp_path):
    for name, count in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("L", (200, 50), 50 * index).save(tmp_path / name / f"12345{index}.png")
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    both = joined([a, b])
    assert len(both) == 5
    assert both.pixels.shape == (5, 50, 200)
    assert both.labels.shape == (5, 6)
    assert both.names == a.names + b.names
    assert both.source == {"folders": [a.source, b.source]}
    assert joined([a]) is a
