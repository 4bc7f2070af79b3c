"""Laws of placing labels: where there is room, nothing is covered; everything stays inside."""

from itertools import combinations

from reports.labels import Box, place

BOUNDS = Box(0, 0, 600, 400)


def test_labels_of_crowded_points_do_not_overlap():
    anchors = [(300 + 9 * step, 200 + 4 * (step % 3)) for step in range(8)]
    points = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    boxes = [placed.box for placed in place(anchors, [(70, 12)] * 8, points, BOUNDS)]
    assert all(first.shared_area(second) == 0 for first, second in combinations(boxes, 2))
    assert all(box.shared_area(point) == 0 for box in boxes for point in points)


def test_labels_at_the_edge_stay_inside():
    corners = [(0, 0), (600, 0), (0, 400), (600, 400)]
    for placed in place(corners, [(80, 12)] * 4, [], BOUNDS):
        assert placed.box.shared_area(BOUNDS) == placed.box.area()


def test_without_room_every_label_is_still_placed():
    assert len(place([(5, 5)] * 20, [(50, 10)] * 20, [], Box(0, 0, 60, 20))) == 20


def test_a_label_does_not_stand_behind_another_point():
    anchors = [(300, 200), (312, 200)]
    points = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    first, _ = place(anchors, [(60, 12)] * 2, points, BOUNDS)
    assert first.box.left < 312
