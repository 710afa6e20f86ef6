"""A COCO-format folder of the user's own: boxes, classes, splits, and every mistake in one line."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from nnjax.data import sources
from nnjax.errors import UserError

TRAIN = {
    'images': [
        {'id': 7, 'file_name': 'a.png'},
        {'id': 3, 'file_name': 'b.png'},
        {'id': 9, 'file_name': 'empty.png'},
    ],
    'categories': [{'id': 18, 'name': 'dog'}, {'id': 5, 'name': 'cat'}],
    'annotations': [
        {'id': 1, 'image_id': 3, 'category_id': 18, 'bbox': [2, 4, 8, 6]},
        {'id': 2, 'image_id': 7, 'category_id': 5, 'bbox': [0, 0, 20, 10]},
        {'id': 3, 'image_id': 7, 'category_id': 18, 'bbox': [10, 5, 10.5, 5]},
        {'id': 4, 'image_id': 7, 'category_id': 18, 'bbox': [0, 0, 9, 9], 'iscrowd': 1},
    ],
}


def write(folder, found, split='train', size=(20, 10)):
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / f'{split}.json').write_text(json.dumps(found))
    for image in found.get('images', ()):
        Image.new('L', size, 40).save(folder / split / image['file_name'])


def test_boxes_and_classes(tmp_path):
    write(tmp_path, TRAIN)
    found = sources.Coco(str(tmp_path), valid=None, test=None, most=3)
    assert found.labels == ('cat', 'dog')  # by rising id
    rows = found.train[np.arange(3)]
    assert rows['image'].shape == (3, 10, 20, 1) and rows['boxes'].dtype == np.float32
    assert rows['label'].tolist() == [[0, 1, -1], [1, -1, -1], [-1, -1, -1]]
    assert rows['boxes'][0, :2].tolist() == [[0, 0, 1, 1], [0.5, 0.5, 1, 1]]
    assert rows['boxes'][1, 0] == pytest.approx([0.4, 0.1, 1, 0.5])
    assert not rows['boxes'][2].any()
    assert rows['crowd'].tolist() == [[-1, -1, 1], [-1, -1, -1], [-1, -1, -1]]
    assert rows['boxes'][0, 2] == pytest.approx([0, 0, 0.9, 0.45])


def test_boxes_are_cut_with_their_images(tmp_path):
    write(tmp_path, TRAIN)
    rows = sources.Coco(str(tmp_path), valid=None, test=None, size=5).train[np.arange(2)]
    # 20x10 is halved and loses its outer columns 0..5 and 15..20.
    assert rows['image'].shape == (2, 5, 5, 1)
    assert rows['boxes'][0, 0].tolist() == [0, 0, 1, 1]
    assert rows['boxes'][1, 0] == pytest.approx([0.4, 0, 1, 0.5])
    off = copy.deepcopy(TRAIN)
    off['annotations'][0]['bbox'] = [0, 0, 4, 4]
    write(tmp_path / 'off', off)
    rows = sources.Coco(str(tmp_path / 'off'), valid=None, test=None, size=5).train[np.arange(2)]
    assert rows['label'][1].max() == -1


def test_the_layout_of_coco_itself(tmp_path):
    write(tmp_path / 'images', TRAIN, 'train2017')
    write(tmp_path / 'images', TRAIN, 'val2017')
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        target = tmp_path / 'annotations' / f'instances_{split}.json'
        (tmp_path / 'images' / f'{split}.json').rename(target)
    found = sources.Coco(str(tmp_path), test=None)
    assert (len(found.train), len(found.valid)) == (3, 3)
    assert found.train.fingerprint != ''


def changed(path, value):
    found = copy.deepcopy(TRAIN)
    *way, last = path
    place = found
    for step in way:
        place = place[step]
    place[last] = value
    return found


@pytest.mark.parametrize(
    'found, said',
    [
        (changed(('annotations', 0, 'bbox'), [2, 4, 0, 6]), r'annotation 1: .*has no area'),
        (changed(('annotations', 0, 'bbox'), [2, 4, -3, 6]), r'annotation 1: .*has no area'),
        (changed(('annotations', 0, 'bbox'), [2, 4, float('nan'), 6]), 'has no area'),
        (changed(('annotations', 0, 'bbox'), [15, 4, 8, 6]), 'reaches 3 pixels out of its image'),
        (changed(('annotations', 0, 'bbox'), [2, 4]), r'expected \[left, top, width, height\]'),
        (changed(('annotations', 2, 'category_id'), 6), r'annotation 3: there is no category 6'),
        (changed(('annotations', 1, 'image_id'), 1), r'annotation 2: there is no image 1'),
        (changed(('categories',), []), 'no images or no categories'),
        (changed(('images', 0), {'id': 4}), "cannot be read as COCO's instances"),
        (changed(('images', 0, 'file_name'), None), "cannot be read as COCO's instances"),
        (changed(('categories', 0, 'id'), 'dog'), "cannot be read as COCO's instances"),
        (changed(('annotations', 0, 'image_id'), [3]), "cannot be read as COCO's instances"),
        (changed(('images', 0, 'id'), 3), 'has the id 3 twice in its images'),
        (changed(('categories', 0, 'id'), 5), 'has the id 5 twice in its categories'),
    ],
)
def test_mistakes_name_the_annotation(tmp_path, found, said):
    (tmp_path / 'train').mkdir()
    write(tmp_path, TRAIN)
    (tmp_path / 'train.json').write_text(json.dumps(found))
    with pytest.raises(UserError, match=said) as caught:
        sources.Coco(str(tmp_path), valid=None, test=None)
    assert '\n' not in str(caught.value)


def test_annotations_that_cannot_be_used_are_left_out_where_asked_for(tmp_path, capsys):
    write(tmp_path, changed(('annotations', 0, 'bbox'), [2, 4, 8, 0]))
    with pytest.raises(UserError, match=r'annotation 1: .* --config\.data\.skip_corrupt=True'):
        sources.Coco(str(tmp_path), valid=None, test=None)
    found = sources.Coco(str(tmp_path), valid=None, test=None, skip_corrupt=True)
    said = capsys.readouterr().err
    assert f'left out 1 of 4 annotations in {tmp_path}/train.json that cannot be used: 1' in said
    rows = found.train[np.arange(3)]
    assert (rows['label'] >= 0).sum(1).tolist() == [2, 0, 0]
    whole = copy.deepcopy(TRAIN)
    for annotation in whole['annotations']:
        annotation['bbox'] = [2, 4, 0, 6]
    write(tmp_path, whole)
    with pytest.raises(UserError, match=r'none of the 4 annotations in .* can be used'):
        sources.Coco(str(tmp_path), valid=None, test=None, skip_corrupt=True)


def test_a_folder_that_does_not_fit(tmp_path):
    with pytest.raises(UserError, match=r'has no annotations train\.json'):
        sources.Coco(str(tmp_path))
    write(tmp_path, TRAIN)
    with pytest.raises(UserError, match='more than 1 objects: raise'):
        sources.Coco(str(tmp_path), valid=None, test=None, most=1)
    Image.new('L', (30, 10)).save(tmp_path / 'train' / 'b.png')
    with pytest.raises(UserError, match=r'is 10x30, .* is 10x20; set data\.size'):
        sources.Coco(str(tmp_path), valid=None, test=None)
    (tmp_path / 'train' / 'b.png').unlink()
    with pytest.raises(UserError, match=r'no file .*b\.png'):
        sources.Coco(str(tmp_path), valid=None, test=None)
    (tmp_path / 'train.json').write_text('{')
    with pytest.raises(UserError, match='JSONDecodeError'):
        sources.Coco(str(tmp_path), valid=None, test=None)
