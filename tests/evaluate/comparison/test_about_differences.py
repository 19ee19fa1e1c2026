"""What a comparison tells of the two sides' options."""

from evaluate.comparison.about_differences import differences, differences_within, evaluated_otherwise, same_weights
from tests.evaluate.predicted import make_predictions


def seeds(network, lr_base=0.1, **more):
    return [
        make_predictions(
            videos=3, network=network, checkpoint=f"{network}_{seed}.pth", views={"clips": 5, "crops": 3},
            options={"random_seed": seed, "lr_base": lr_base, "network": network, "given": [str(seed)], **more},
        )
        for seed in (1, 2)
    ]  # fmt: skip


def test_what_matters_comes_first_and_where_a_run_was_done_last():
    """A list that begins with paths hides that the learning rate differs."""
    found = differences(seeds("r3d_10"), seeds("srtg_r3d_10", lr_base=0.05, momentum=0.9, model_dir="/x"))
    assert [each.name for each in found] == ["network", "lr_base", "momentum", "checkpoint", "model_dir"]
    assert found[1][1:] == ("0.1", "0.05")


def test_seeds_that_differ_on_both_sides_are_no_difference():
    one = seeds("r3d_10")
    assert differences(one, one[::-1]) == []
    assert differences_within(one) == []


def test_a_side_of_different_networks_is_noticed():
    """Its spread would be taken for that of seeds."""
    assert differences_within([*seeds("r3d_10"), *seeds("r3d_18")]) == ["network"]


def test_views_are_named_by_what_differs_in_them():
    more = make_predictions(videos=3, views={"clips": 10, "crops": 3})
    fewer = make_predictions(videos=3, views={"clips": 1, "crops": 3})
    assert [tuple(each) for each in differences([fewer], [more])] == [("views.clips", "1", "10")]


def test_weights_of_both_sides_are_noticed():
    """Two evaluations of one network say nothing of two trainings."""
    a, b = (make_predictions(videos=3, checkpoint=f"{run}/r3d_10_best.pth") for run in "ab")
    assert same_weights([a], [b]) is None
    assert same_weights([b, a], [a]) == "a/r3d_10_best.pth"


def test_other_runs_have_files_of_the_same_name():
    """A warning of the same weights would be wrong, and the mean over splits refused."""
    bare = make_predictions(videos=3, checkpoint="r3d_10_best.pth")
    assert same_weights([bare], [bare]) is None
    later = [make_predictions(videos=3, checkpoint="a/r3d_10_best.pth", digest=digest) for digest in "xy"]
    assert same_weights(later[:1], later[1:]) is None  # trained again in the same folder
    assert same_weights(later[:1], later[:1]) == "x"


def test_an_ensemble_has_no_options_to_differ_in():
    """A list of all options of the other side would hide what there is to say."""
    ensemble = make_predictions(videos=3, network="a + b", views={"clips": 5, "crops": 3}, parts=[{}, {}])
    found = differences([ensemble], seeds("a", momentum=0.9))
    assert [each.name for each in found] == ["network", "parts", "checkpoint"]


def test_other_views_are_told_from_other_networks():
    """Ten clips against one improve any network."""
    one, other = (make_predictions(videos=3, network=name, views={"clips": n}) for name, n in (("a", 1), ("b", 10)))
    assert [each.name for each in evaluated_otherwise(differences([one], [other]))] == ["views.clips"]
