"""Configurations: stages share tables, and what is wrong is named."""

from pathlib import Path

import pytest

from predecoder import load_network, shipped_weights
from predecoder.training import load_config
from predecoder.training.tasks import expand_tasks


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps = [", "not a TOML file"),
        ("[network]\nwidth = 3", "unknown key 'width' of family='dense'; known keys are channels"),
        ("[network]\nchannels = 0", "channels=0"),
        ("[optimizer]\nsteps = 'many'", "steps='many' is not a number"),
        ("[data]\nlabels = 'guess'", "labels='guess' is unknown"),
        ("[[tasks]]\nweight = 0", "weight=0 is not positive"),
        ("[[tasks]]\nshots = 'doubtful'", "shots='doubtful' is unknown"),
        *[
            (
                f"[[tasks]]\ndistance = {given}",
                "distance=.* is not a whole number from 2 on, nor a pair, as",
            )
            for given in ("1", "[3, 4, 5]", "[5, 1]", "[]", "[5, 2.5]")
        ],
        ("[[tasks]]\ndistance = 'large'", "distance='large' is not a number"),
        (
            "[[tasks]]\nrounds = 1\nperfect_last_round = true",
            "rounds=1 with perfect_last_round: use 2 or more",
        ),
        ("[[tasks]]\ndistance = [3, 5]\nnoise = 'uniform-stim'", r"square patches only, not \(3, 5\)"),
        ("[[tasks]]\nrounds = [3, 0]", r"rounds=\(3, 0\) is not a"),
        ("loss = 'class'\n[[tasks]]\np = 0.01", "loss='class'; use one of"),
        ("", "stage 'c' has no tasks; say what to train on"),
        ("[optimizer]\nsteps = 9", "stage 'c' has no tasks; say what to train on"),
        ("stages = []", "is not an array of tables"),
        (
            "[[stages]]\nname = 'a'\ntasks = [{}]\n[[stages]]\nname = 'a'\ntasks = [{}]",
            "several stages of the name 'a'",
        ),
        ("optimizer = 3\ntasks = [{}]", r"optimizer=3 is not a table"),
        ("[[tasks]]\nbegins = -1", "begins=-1 is not a step"),
        ("[[tasks]]\nnoise = 'randomized'\nvariants = 0", "variants=0 is not a whole number from 1"),
        (
            "[[tasks]]\nnoise = 'randomized'\np = 0.05",
            "p=0.05 of noise='randomized' is not above 0 and at most 0.02",
        ),
        ("[[tasks]]\nnoise = 'randomized'\ndem = 'a.dem'", "both noise='randomized' and dem='a.dem'"),
        ("[[tasks]]\nvariants = 2", "variants=2 of noise='depolarizing'"),
        ("[[tasks]]\nnoise = 'uniform-stim'\nperfect_last_round = true", "has no perfect_last_round"),
        ("tasks = []", "stage 'c' has no tasks"),
        ("[optimizer]\nsteps = 9\nstop = 2.5", "stop=2.5 is not a step from 0 to steps=9"),
        ("[optimizer]\nsteps = 9\nstop = 10", "stop=10 is not a step from 0 to steps=9"),
        ("[data]\npasses = 3\npool = 2", "pool=2 is less than passes=3; hold as many or more"),
        ("[class_loss]\nteacher_weight = 1.5", "teacher_weight=1.5 is not from 0 to 1"),
        ("[class_loss]\nteacher_scale = 0.0", "teacher_scale=0.0 is not positive"),
        (
            "[class_loss]\nteacher_decoder = 'pymatching'",
            "teacher_decoder='pymatching' is unknown; use one of .*'neural-ensemble'",
        ),
        ("[class_loss]\nplain_gap = -1", "plain_gap=-1 is negative"),
        ("[optimizer]\nprecision = 'half'", "precision='half' is unknown; use 'float32' or 'bfloat16'"),
        (
            "network = { family = 'separable' }\noptimizer = { precision = 'bfloat16' }\ntasks = [{}]",
            "precision='bfloat16' and a network of family='separable'; only dense networks",
        ),
        ("[[tasks]]\nbegins = 7\n[[tasks]]\nbegins = 5", "begins at step 5; at least one must begin at 0"),
    ],
)
def test_bad_configurations_are_named(tmp_path, text, reason):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_config(path)


def test_stages_share_what_stands_at_the_top_and_change_it_key_by_key(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text("""
seed = 7
init = "fast"
[network]
channels = 8
[optimizer]
steps = 10
learning_rate = 1e-3
[task]
orientations = ["ZH"]
[[stages]]
name = "first"
tasks = [{ distance = 3, p = 0.01 }]
[[stages]]
loss = "logical-class"
optimizer = { steps = 20 }
network = { residual_blocks = 2 }
task = { shots = "mined", bases = ["x"] }
tasks = [{ distance = 5, rounds = [2, 5] }, { distance = 3, shots = "all" }]
""")
    config = load_config(path)
    assert config.name == "two"
    first, second = config.stages
    assert (first.name, second.name) == ("first", "stage-2")
    assert (first.seed, second.seed) == (7, 7)
    assert (first.init, second.init) == ("fast", None)
    assert (first.loss, second.loss) == ("marginal", "logical-class")
    assert (first.optimizer.steps, second.optimizer.steps, second.optimizer.learning_rate) == (10, 20, 1e-3)
    assert (first.network.channels, second.network.channels, second.network.residual_blocks) == (8, 8, 2)
    assert [task.orientations for task in (*first.tasks, *second.tasks)] == [("ZH",)] * 3
    assert [task.shots for task in second.tasks] == ["mined", "all"]
    assert [(s.rounds, s.basis) for s in expand_tasks(second.tasks)[0]] == [(2, "x"), (5, "x"), (3, "x")]


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_read(path):
    config = load_config(path)
    assert config.name == path.stem
    assert all(stage.init is None for stage in config.stages[1:])


def test_every_shipped_weights_file_has_its_configuration():
    """And holds the network that it describes."""
    recipes = {path.stem for path in Path("configs").glob("*.toml")}
    assert recipes - set(shipped_weights()) == {"accurate-gpu"}  # made where there is a GPU
    assert set(shipped_weights()) <= recipes
    for name in shipped_weights():
        assert load_network(name).config == load_config(f"configs/{name}.toml").stages[-1].network
