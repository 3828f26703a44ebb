"""A hierarchy of segments: many small segments by k-means, merged by Ward's criterion."""
