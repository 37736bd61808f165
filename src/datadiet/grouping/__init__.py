"""Who is left out: groups of examples, what stays of each, and what each loses."""
