"""Results for people: a terminal table and a self-contained HTML report."""
