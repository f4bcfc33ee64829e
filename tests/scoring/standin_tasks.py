"""Stand-ins for upstream's task files of both dates: every key and value of theirs, other words.

Where the real files are at hand, test_real_tasks.py holds these against them key by key: what puts
the question and names the right answer is ours, everything else is equal.
"""

from collections.abc import Mapping

import yaml

from checks.answers import PUBLISHED

#: What differs from the real files, and nothing else.
OWN = ("doc_to_text", "doc_to_target")
FOUR = " ".join("(" + x + ") {{" + f"ending{i}" + "}}" for i, x in enumerate("ABCD"))
TEN = " ".join(f"({x}) {{{{options['{x}']}}}}" for x in "ABCDEFGHIJ")
WORDS = {
    "pubmedqa_g": "{{CONTEXTS}} {{QUESTION.strip()}} (A) Yes (B) No (C) Maybe",
    "medmcqa_g": "{{question}} (A) {{opa}} (B) {{opb}} (C) {{opc}} (D) {{opd}}",
    "medqa_g": "{{sent1}} " + FOUR,
    "medxpertqa_g": "{{question}} " + TEN,
}
JULY = {
    "pubmedqa_g": "{{context.contexts | join(' ')}} {{question.strip()}} (A) Yes (B) No (C) Maybe",
    "medxpertqa_g": "Another wording. {{question}} " + TEN,
}
TARGETS = {
    "pubmedqa_g": '{{ {"yes": "A", "no": "B", "maybe": "C"}[final_decision] }}',
    "medmcqa_g": "{{ 'ABCD'[cop] }}",
    "medqa_g": "{{ 'ABCD'[label] }}",
    "medxpertqa_g": "{{label}}",
}
#: What sets a file apart beside its words, by date.
FACTS: dict[str, dict[str, object]] = {
    "pubmedqa_g": {"dataset_path": "bigbio/pubmed_qa",
                   "dataset_name": "pubmed_qa_labeled_fold0_source"},
    "medmcqa_g": {"dataset_path": "openlifescienceai/medmcqa", "test_split": "validation",
                  "should_decontaminate": True, "doc_to_decontamination_query": "{{question}}"},
    "medqa_g": {"dataset_path": "GBaker/MedQA-USMLE-4-options-hf"},
    "medxpertqa_g": {"dataset_path": "TsinghuaC3I/MedXpertQA", "dataset_name": "Text",
                     "training_split": "dev", "validation_split": "test"},
}  # fmt: skip
JULY_FACTS: dict[str, dict[str, object]] = {
    "pubmedqa_g": {"dataset_path": "qiaojin/PubMedQA", "dataset_name": "pqa_labeled",
                   "validation_split": "train", "test_split": "train"},
}  # fmt: skip


def task(name: str, *, july: bool = False, **changes: object) -> dict[str, object]:
    """One task in upstream's form; a change of None takes a key away."""
    pattern = PUBLISHED["J" if name == "medxpertqa_g" else "D"]
    words = (JULY.get(name) if july else None) or WORDS[name]
    out: dict[str, object] = {
        "task": name,
        "output_type": "generate_until",
        "training_split": "train",
        "validation_split": "validation",
        "test_split": "test",
        **FACTS[name],
        **(JULY_FACTS.get(name, {}) if july else {}),
        "doc_to_text": f"Invented wording. {words}\nClose with 'Final Answer:' and a letter.",
        "doc_to_target": TARGETS[name],
        "generation_kwargs": {
            "until": ["</s>", "Q:", "<|im_end|>", "<|end_of_text|>"],
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


def task_files(*, july: bool = False, **changes: Mapping[str, object]) -> dict[str, bytes]:
    """Give all five files by name, with changes to some tasks."""
    metric = {"metric": "exact_match", "aggregation": "mean", "weight_by_size": True}
    group = {
        "group": "medbench",
        "task": [*WORDS, "mmlu_pro", "ifeval", *(["ai2_arc"] if july else [])],
        "aggregate_metric_list": [metric],
        **changes.pop("medbench", {}),
    }
    tasks = {name: task(name, july=july, **changes.get(name, {})) for name in WORDS}
    every = {"medbench": group, **tasks}
    return {f"{n}.yaml": yaml.safe_dump(t, sort_keys=False).encode() for n, t in every.items()}
