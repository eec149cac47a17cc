"""The optimizer loop that sft, rm and dpo share, in one process or several."""
