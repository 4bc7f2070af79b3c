"""Laws of the environment's table: readable names and units, and nothing that was recorded is lost."""

from hypothesis import given
from hypothesis import strategies as st

from reports.machine import machine_table

values = st.integers(-5, 10**12) | st.floats(0, 1e9) | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
keys = st.sampled_from(
    ["cpu", "cores", "memory_gb", "seconds", "peak_memory_bytes", "os", "packages", "mine", "python"]
)


@given(st.dictionaries(keys, values, min_size=1))
def test_every_fact_has_a_row_whatever_its_value(environment):
    assert len(machine_table(environment).rows) == len(environment)


def test_raw_keys_become_names_with_units():
    rows = dict(
        machine_table(
            {"cpu": "X", "memory_gb": 25.3, "seconds": 616.9, "peak_memory_bytes": 2_447_466_496, "os": "linux"}
        ).rows
    )
    assert rows == {
        "processor": "X",
        "memory": "25.3 GB",
        "operating system": "Linux",
        "time taken": "10 min 17 s",
        "peak memory": "2.45 GB",
    }


def test_what_is_not_known_keeps_its_name():
    assert dict(machine_table({"cache_line": 64}).rows) == {"cache_line": "64"}
