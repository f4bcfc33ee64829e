"""Stand-ins for upstream's task files: the same form and pattern, other words."""

from collections.abc import Mapping

import yaml

from checks.benchmarks.answers import PUBLISHED

FOUR = " ".join("(" + x + ") {{" + f"ending{i}" + "}}" for i, x in enumerate("ABCD"))
WORDS = {
    "pubmedqa_g": "{{CONTEXTS}} {{QUESTION.strip()}} (A) Yes (B) No (C) Maybe",
    "medmcqa_g": "{{question}} (A) {{opa}} (B) {{opb}} (C) {{opc}} (D) {{opd}}",
    "medqa_g": "{{sent1}} " + FOUR,
    "medxpertqa_g": "{{question}} "
    + " ".join(f"({x}) {{{{options['{x}']}}}}" for x in "ABCDEFGHIJ"),
}
TARGETS = {
    "pubmedqa_g": '{{ {"yes": "A", "no": "B", "maybe": "C"}[final_decision] }}',
    "medmcqa_g": "{{ 'ABCD'[cop] }}",
    "medqa_g": "{{ 'ABCD'[label] }}",
    "medxpertqa_g": "{{label}}",
}


def task(name: str, **changes: object) -> dict[str, object]:
    """One task in upstream's form; a change of None takes a key away."""
    pattern = PUBLISHED["J" if name == "medxpertqa_g" else "D"]
    out: dict[str, object] = {
        "task": name,
        "dataset_path": f"nowhere/{name}",
        "dataset_name": "none",
        "output_type": "generate_until",
        "training_split": "train",
        "validation_split": "validation",
        "test_split": "test",
        "doc_to_text": f"Invented wording. {WORDS[name]}\nClose with 'Final Answer:' and a letter.",
        "doc_to_target": TARGETS[name],
        "generation_kwargs": {
            "until": ["</s>", "Next:"],
            "do_sample": False,
            "temperature": 0.0,
            "top_p": 1.0,
        },
        "filter_list": [
            {
                "name": "strict-final-answer",
                "filter": [
                    {"function": "regex", "regex_pattern": pattern},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "ignore_punctuation": True,
            }
        ],
        **changes,
    }
    return {key: value for key, value in out.items() if value is not None}


def task_files(**changes: Mapping[str, object]) -> dict[str, bytes]:
    """Give all five files by name, with changes to some tasks."""
    group = {
        "group": "medbench",
        "task": [*WORDS, "mmlu_pro", "ifeval"],
        "aggregate_metric_list": [{"metric": "exact_match", "weight_by_size": True}],
        **changes.pop("medbench", {}),
    }
    every = {"medbench": group, **{name: task(name, **changes.get(name, {})) for name in WORDS}}
    return {f"{n}.yaml": yaml.safe_dump(t, sort_keys=False).encode() for n, t in every.items()}
