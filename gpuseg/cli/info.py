"""The command info: this machine."""

from gpuseg.cli.options import AsJson
from gpuseg.cli.show import print_json, print_text


def info(as_json: AsJson = False) -> None:
    """Print versions, processors and backends of this machine."""
    from gpuseg.jobs.environment import environment

    facts = environment()
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print_text(f"{key:<10} {text}")
