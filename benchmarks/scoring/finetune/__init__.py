"""Protocol ``finetune``: the whole encoder trained on a task."""
