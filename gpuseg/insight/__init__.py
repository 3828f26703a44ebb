"""What a run found, told to people: a terminal table and a self-contained HTML report."""
