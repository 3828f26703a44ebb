"""Bugs to plant in the kernels, and copies of the kernels that have all of them at once.

A compilation takes far longer than the run that detects a bug, so there is none for each bug. The
copies choose at run time between what is right and what is wrong; `emulator_mutant` is the number
of the bug, or 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from emulator.launcher import KERNELS


@dataclass(frozen=True)
class Mutant:
    """A change of a kernel's source.

    Attributes
    ----------
    bug : str
    file : str
        Name of a file in a folder of ``kernels/``.
    old : str
        Text that occurs once in the file. What is between « and » is replaced, or else all of it.
    new : str
        What replaces it. Both are expressions, or both are statements and declare nothing; no
        statement at all is one too.
    case : int
        Index of the case that is run first, where case 0 does not detect the bug.
    """

    bug: str
    file: str
    old: str
    new: str
    case: int = 0

    def place(self, source: str) -> tuple[int, int]:
        """Return where in the file's text the replaced text begins and ends."""
        text = self.old.replace("«", "").replace("»", "")
        assert source.count(text) == 1, f"{self.bug}: {source.count(text)} matches in the file"
        before, _, rest = self.old.rpartition("«")
        begin = source.index(text) + len(before)
        return begin, begin + len(rest.partition("»")[0])

    @property
    def number(self) -> int:
        """The value of `emulator_mutant` that chooses this mutant."""
        return ALL_MUTANTS.index(self) + 1

    def choice(self, right: str) -> str:
        """Return code that does what this mutant does if it is chosen, and else what is right."""
        is_chosen = f"emulator_mutant == {self.number}"
        if right.endswith((";", "}")) or self.new.endswith(";"):
            return f"{{ if ({is_chosen}) {{ {self.new} }} else {{ {right} }} }}"
        return f"({is_chosen} ? ({self.new}) : ({right}))"


MUTANTS = (
    # Barriers left out.
    Mutant("no barrier before a tile is replaced", "score_tile.cuh",
           "«__syncthreads();»  // all threads are done with what is replaced now", "", case=10),
    Mutant("no barrier after a tile is fetched", "score_tile.cuh",
           "memory.loaded = from;\n        «__syncthreads();»", ""),
    Mutant("no barrier before rows are queued", "lloyd.cu",
           "length = queued;\n      «__syncthreads();»", ""),
    Mutant("no barrier after rows are queued", "lloyd.cu",
           "&length);  // 1\n      «__syncthreads();»", ""),
    Mutant("no barrier before moved rows are listed", "lloyd.cu",
           "«__syncthreads();»\n  store_bounds(", ""),
    Mutant("no barrier after moved rows are listed", "lloyd.cu",
           "moved);\n  «__syncthreads();»\n  move_rows", ""),
    Mutant("no barrier after rows are moved", "lloyd.cu",
           "moved, sums);\n  «__syncthreads();»\n}", ""),
    Mutant("no barrier before sizes are added", "assign.cu",
           "«__syncthreads();»\n  for (int j = threadIdx.x; totals.sizes &&", ""),
    # Additions that are not atomic.
    Mutant("plain addition to a block's sums", "center_sums.cuh",
           "atomicAdd(&sums.low[cell], low)", "(sums.low[cell] += low) - low"),
    Mutant("plain addition to the sums of all blocks", "center_sums.cuh",
           "atomicAdd(&sums.all[cell], steps);", "sums.all[cell] += steps;", case=2),
    Mutant("plain addition to all sums, row by row", "center_sums.cuh",
           "atomicAdd(&sums.all[cell], (unsigned long long)steps);",
           "sums.all[cell] += (unsigned long long)steps;", case=7),
    Mutant("plain counting of moved rows", "lloyd.cu",
           "atomicAdd(moved.count, 1)", "(*moved.count)++"),
    Mutant("plain counting of a segment's rows", "assign.cu",
           "atomicAdd(&totals.sizes[label], 1);", "totals.sizes[label] += 1;"),
    # One too many, one too few.
    Mutant("a slot too many", "lloyd.cu", "slot >= rows.count", "slot > rows.count"),
    Mutant("one row too many is queued", "lloyd.cu", "stop - from[p]", "stop + 1 - from[p]"),
    Mutant("a row too many is assigned", "assign.cu", "row >= n", "row > n"),
    Mutant("a distance too many", "distances.cu", "i < n * k", "i <= n * k"),
    Mutant("the last row is never assigned", "assign.cu", "first < n", "first < n - 1", case=11),
    Mutant("a reduction that leaves out half a warp", "assign.cu",
           "for (int offset = «16»; offset", "8", case=1),
    Mutant("slots that are not filled read the queue", "score_tile.cuh",
           "min(slot, rows.count - 1)", "slot"),
    # Wrong indices.
    Mutant("a tile stored the other way round", "score_tile.cuh",
           "f * TILE + target[i]", "target[i] * features + f"),
    Mutant("the shift of another feature", "score_tile.cuh",
           "rows.shift[«from + f»];", "f", case=12),
    Mutant("always the first features of the centers", "score_tile.cuh",
           "(group * rows.d + from) * CENTERS", "group * rows.d * CENTERS", case=12),
    Mutant("the norms of the first group", "score_tile.cuh",
           "score[r][j] = run.half_norms[«group * CENTERS + j»];", "j", case=3),
    Mutant("the centers of the first run", "lloyd.cu",
           "half_norms + group * CENTERS", "half_norms"),
    Mutant("rows are taken from the center they join", "lloyd.cu",
           "(first_center + before) * columns", "(first_center + now) * columns"),
    Mutant("the drift of the old label", "lloyd.cu",
           "pass.drift[«first_center + now»]", "first_center + before"),
    Mutant("always the first rows of the queue", "lloyd.cu",
           "queue + queued - count", "queue", case=2),
    Mutant("rows and centers exchanged", "distances.cu", "x + row * d", "x + center * d"),
    # Shared memory that overlaps, or is not set.
    Mutant("the list of moved rows lies on the queue", "lloyd.cu",
           "{«lists», lists + TILE,", "queue"),
    Mutant("the block's sums lie beyond its memory", "lloyd.cu",
           "lists + 3 * TILE", "lists + 3 * TILE + 2"),
    Mutant("the block's sums are not cleared", "lloyd.cu", "clear(sums);", ""),
    Mutant("the block's upper words are not cleared", "center_sums.cuh",
           "sums.high[cell] = 0;", ""),
    # Wrong decisions and wrong arithmetic.
    Mutant("ties go to the last center", "exact_distances.cuh",
           "distance < least", "distance <= least", case=4),
    Mutant("ties between lanes go to the last center", "exact_distances.cuh",
           "other_label < label", "other_label > label"),
    Mutant("float32 decides everything", "resolve_uncertain.cuh",
           "gap[r] == UNCERTAIN", "gap[r] > 2 * LARGEST_GAP", case=6),
    Mutant("the second best is forgotten", "best_scores.cuh",
           "fminf(row.second, fmaxf(row.best, score))", "fmaxf(row.best, score)"),
    Mutant("a moved row stays in the old sum", "lloyd.cu", "from >= 0", "false"),
    Mutant("fresh rows are subtracted from a center", "lloyd.cu", "from >= 0", "true", case=12),
    Mutant("a fused multiply-add in exact distances", "exact_distances.cuh",
           "__dadd_rn(total, __dmul_rn(difference, difference))",
           "fma(difference, difference, total)", case=1),
    Mutant("steps of 32 bits", "center_sums.cuh",
           "grid_steps(value, sums.magic[f], &rest)",
           "(int)grid_steps(value, sums.magic[f], &rest)"),
    Mutant("no carry", "center_sums.cuh",
           "(unsigned)((unsigned long long)steps >> 32) + carry",
           "(unsigned)((unsigned long long)steps >> 32)"),
    Mutant("a carry without overflow", "center_sums.cuh",
           "before > 0xffffffffu - low", "before < 0xffffffffu - low"),
    Mutant("weights are left out", "lloyd.cu", "__dmul_rn(w, offset)", "offset"),
    Mutant("any slack holds", "lloyd.cu", "slack <= upper_half(drift)", "slack == 0"),
    Mutant("slack is rounded up", "row_bounds.cuh",
           "slack > 0.0f ? (Slack)upper_half(slack) : (Slack)0",
           "slack > 0.0f ? (Slack)(upper_half(slack) + 1) : (Slack)0"),
    Mutant("negative slack passes for a large one", "row_bounds.cuh",
           "slack > 0.0f ? (Slack)upper_half(slack) : (Slack)0", "(Slack)upper_half(slack)"),
    Mutant("the halves of a word borrow from each other", "lloyd.cu",
           "(slacks.word[w] | signs) - both", "slacks.word[w] - both"),
    Mutant("slacks of neighboring rows are swapped", "lloyd.cu",
           "slacks.word[j / 2] >> 16 * («j % 2») & 0xffff;", "1 - j % 2", case=1),
    Mutant("only the largest drift of the first run", "lloyd.cu",
           "low_slack(slacks, pass.max_drift[«i»], count)", "0", case=2),
    Mutant("the remainder of the first grid is lost", "reproducible_sums.cuh",
           "__dsub_rn(value, __dsub_rn(shifted, magic))", "0.0"),
    Mutant("labels are not written", "lloyd.cu", "pass.label[i][row] = (Label)now;", ""),
    # Passes over all rows.
    Mutant("copies are not waited for", "lloyd_full.cu", "wait_for_copies<1>();", ""),
    Mutant("the tile before is waited for", "lloyd_full.cu",
           "wait_for_copies<1>();", "wait_for_copies<2>();"),
    Mutant("no barrier after copies have arrived", "lloyd_full.cu",
           "«__syncwarp();»  // the copies of the other lanes have arrived", ""),
    Mutant("no barrier before copies replace a tile", "lloyd_full.cu",
           "«__syncwarp();»  // all lanes are done with the tile before it is replaced",
           "", case=13),
    Mutant("both tiles use one stage", "tile_stream.cuh",
           "tiles + stage * TILE_ROWS * pitch", "tiles + 0 * TILE_ROWS * pitch", case=2),
    Mutant("no barrier before the centers are used", "lloyd_full.cu",
           "teams_of(d);\n  «__syncthreads();»", ""),
    Mutant("no barrier before sums are flushed", "lloyd_full.cu",
           "«__syncthreads();»\n  flush(sums);", ""),
    Mutant("a row too many is copied", "tile_stream.cuh", "n - first", "n + 1 - first"),
    Mutant("the last piece is not copied", "tile_stream.cuh",
           "count * stream.pieces - lane + 31", "count * stream.pieces - lane + 30"),
    Mutant("pieces of a row run into the next", "tile_stream.cuh",
           "stream.pitch - stream.pieces * WIDTH", "0", case=3),
    Mutant("tiles overlap", "lloyd_full.cu",
           "(long long)gridDim.x * WARPS * TILE_ROWS",
           "(long long)gridDim.x * WARPS * (TILE_ROWS - 1)", case=2),
    Mutant("the shift is forgotten", "score_fma.cuh", "z[r].value[f] -= shift.value[f];", ""),
    Mutant("the norms of the first run", "score_fma.cuh",
           "panel.norms + (first + group) * CENTERS + part",
           "panel.norms + group * CENTERS + part"),
    Mutant("the rows of another lane", "score_fma.cuh",
           "rows + 32 * r * PITCH(d) + from", "rows + r * PITCH(d) + from"),
    Mutant("the shift is forgotten, for tensor cores", "score_mma.cuh",
           "z.value[1] -= shift.value[1];", "", case=3),
    Mutant("the lower half of the rows is the upper one", "score_mma.cuh",
           "16 * m + 8 * h", "16 * m", case=3),
    Mutant("the low parts of the rows are lost", "score_mma.cuh",
           "product < 2 ? rows.high[m][step] : rows.low[m][step]", "rows.high[m][step]", case=3),
    Mutant("the low parts of the centers are lost", "score_mma.cuh",
           "product == 1 ? low[i] : high[i]", "high[i]", case=3),
    Mutant("a product too many", "score_mma.cuh", "step + product == 0", "product == 0", case=3),
    Mutant("the label of another column", "score_mma.cuh",
           "(group + i) * CENTERS + lane % 4 * 2 + c % 2",
           "(group + i) * CENTERS + lane % 4 * 2", case=3),
    Mutant("lanes are merged with the wrong lanes", "score_mma.cuh",
           "bool second_m = «lane / 2 % 2»,", "lane % 2", case=3),
    Mutant("slots of other lanes", "score_mma.cuh",
           "16 * (lane / 2 % 2) + 8 * (lane % 2) + lane / 4",
           "16 * (lane % 2) + 8 * (lane / 2 % 2) + lane / 4", case=3),
    Mutant("the margin of float32 for tensor cores", "score_mma.cuh",
           "certificate(largest_norm, d, 37 * (3 * KSTEPS + 1) + d + 8, 3.1f * 256.0f)",
           "certificate(largest_norm, d, d + 8, 0.0f)", case=4),
    Mutant("merged lanes forget the second best", "best_scores.cuh",
           "fminf(fmaxf(row.best, other.best), fminf(row.second, other.second))",
           "fminf(row.second, other.second)", case=3),
    Mutant("rows in doubt keep their label", "lloyd_full.cu",
           "if (lane == source) row.label = label;", "", case=4),
    Mutant("the exact label of another row", "lloyd_full.cu",
           "tile.first + slot_of(«source», r)", "lane"),
    Mutant("rows beyond the last are written", "lloyd_full.cu",
           "slot < tile.count", "slot <= tile.count"),
    Mutant("the drift of the first run", "lloyd_full.cu", "drift[«run.center + now»]", "now"),
    Mutant("moved rows stay in the old sums", "lloyd_full.cu", "!run.fresh", "false"),
    Mutant("rows of two centers are one", "sum_by_label.cuh",
           "__ballot_sync(all, cell[r] == common) & rest[r]", "rest[r]"),
    Mutant("a row for each team", "sum_by_label.cuh", "same[r] & teams.turns", "same[r]"),
    Mutant("the weight of one row", "sum_by_label.cuh",
           "sign * rows * steps.coarse", "sign * steps.coarse", case=1),
    Mutant("weights are left out of streamed sums", "sum_by_label.cuh",
           "if («weight») term = __dmul_rn", "nullptr"),
    # Columns.
    Mutant("squares shifted once", "summarize.cu",
           "square >> 24 << 2 * shift", "square >> 24 << shift"),
    Mutant("the last window is lost", "summarize.cu", "«flush(sums, tables);»\n    if (least", ""),
    Mutant("a sign is lost", "summarize.cu", "bits >> 31 ? -shifted : shifted", "shifted"),
    Mutant("a plain minimum", "summarize.cu",
           "atomicMin(&firsts[kind * d + f], first_row + row);",
           "firsts[kind * d + f] = min(firsts[kind * d + f], first_row + row);"),
    Mutant("idle threads work", "summarize.cu",
           "if (threadIdx.x >= rows * width) return;", "", case=3),
    Mutant("the bits below the upper ones are lost", "summarize.cu",
           "if («lower») atomicAdd", "false"),
    Mutant("the fill of the first column", "prepare.cu", "fill[f]", "fill[0]"),
    Mutant("scaling in float32", "prepare.cu",
           "__ddiv_rn(__dsub_rn(transformed, shift[f]), scale[f])",
           "((float)transformed - (float)shift[f]) / (float)scale[f]"),
    Mutant("clipping by another feature's end", "prepare.cu", "value > bounds[«d + f»]", "d"),
    Mutant("clipping at the wrong end", "prepare.cu", "value = bounds[«d + f»]", "f"),
    Mutant("a value too many is prepared", "prepare.cu", "i < n * d", "i <= n * d"),
    Mutant("another feature's power", "prepare.cu", "power[f]", "power[0]"),
    Mutant("values below 0 keep their sign", "transforms.cuh",
           "negative ? -magnitude : magnitude", "magnitude"),
    Mutant("one power for both signs", "transforms.cuh",
           "negative ? __dsub_rn(2.0, power) : power", "power"),
    Mutant("a projection without the mean", "project.cu",
           "__dsub_rn((double)row[f], mean[f])", "(double)row[f]"),
    Mutant("a projection in float32", "project.cu",
           "__dadd_rn(total, __dmul_rn(offset, component[f]))",
           "(float)__dadd_rn(total, __dmul_rn(offset, component[f]))"),
    Mutant("a run too long", "gram.cu", "(int)min((long long)RUN, n - first)", "RUN"),
    Mutant("sums of pairs added plainly", "gram.cu",
           "atomicAdd(&steps[pair], (unsigned long long)coarse);",
           "steps[pair] += coarse;", case=2),
    Mutant("pairs below the diagonal are added too", "gram.cu", "if (j < i) continue;", ""),
    Mutant("a cell too late", "distance_sums.cu",
           "cell[row + 1] != cell[row]", "cell[row] != cell[first]"),
    Mutant("the cell of the run's last row", "distance_sums.cu",
           "(long long)cell[«row»] * m", "end - 1"),
    Mutant("a point without its feature", "distance_sums.cu", "(long long)f * m + j", "j"),
    Mutant("no origin", "power_sums.cu", "origin[t]", "0.0"),
    Mutant("the logarithm without its sign", "power_sums.cu", "value < 0.0 ? -log : log", "log"),
    Mutant("the squares use the grid of the values", "power_sums.cu", "magic + m + t", "magic + t"),
    Mutant("the last value is not rounded", "to_float32.cu", "«i < n»;", "i + 1 < n"),
    Mutant("a value too many is rounded", "to_float32.cu", "«i < n»;", "i <= n"),
    Mutant("a norm without the first feature", "normalize.cu",
           "int f = «0»; f < d; ++f) squares", "1"),
    Mutant("the last value is not decoded", "decode_column.cu", "row < n", "row + 1 < n"),
    Mutant("a value too many is decoded", "decode_column.cu", "row < n", "row <= n"),
    Mutant("the first values of a buffer", "decode_column.cu", "first + row", "row"),
    Mutant("bits from the highest on", "decode_column.cu", ">> («i & 7»)", "7 - (i & 7)"),
    Mutant("missing values are present", "decode_column.cu", "«!present» ||", "true"),
    Mutant("a NaN without its sign", "decode_column.cu",
           "((unsigned)(bits >> 32) & 0x80000000u)", "0u"),
    Mutant("a NaN without its bits", "decode_column.cu",
           "((unsigned)(bits >> 29) & 0x3fffffu)", "0u"),
    Mutant("NaN of float32 by way of float64", "decode_column.cu",
           "is_present && type == F32", "is_present && type == F32 && !isnan(value)"),
    Mutant("integers directly to float32", "decode_column.cu",
           "value_at<long long>(values, i)", "(float)((const long long*)values)[i]"),
    Mutant("unsigned integers are signed", "decode_column.cu",
           "value_at<unsigned long long>(values, i)", "value_at<long long>(values, i)"),
    Mutant("infinity is refused", "decode_column.cu",
           "isinf(rounded) && !isinf(value)", "isinf(rounded)"),
    Mutant("the position of another feature", "decode_column.cu",
           "row * d + feature", "row * d + (feature + 1) % d"),
    Mutant("flags the wrong way round", "decode_column.cu",
           "isnan(rounded) ? 1.0f : 0.0f", "isnan(rounded) ? 0.0f : 1.0f"),
    Mutant("negative weights", "decode_column.cu",
           "value >= 0.0 && value <= 3.4028234663852886e38",
           "value >= -1.0 && value <= 3.4028234663852886e38"),
    Mutant("weights beyond float32", "decode_column.cu",
           "value >= 0.0 && value <= 3.4028234663852886e38", "value >= 0.0 && value <= 1e300"),
    Mutant("the largest weight is refused", "decode_column.cu",
           "value >= 0.0 && value <= 3.4028234663852886e38",
           "value >= 0.0 && value < 3.4028234663852886e38"),
    Mutant("refused values counted plainly", "decode_column.cu",
           "isinf(value)) «atomicAdd(refused, 1ull);»", "*refused += 1;", case=2),
    Mutant("positions counted from zero", "digest.cu",
           "(unsigned long long)(first_row + row)", "(unsigned long long)row"),
    Mutant("a digest added plainly", "digest.cu", "atomicAdd(total, sum);", "*total += sum;"),
    Mutant("every prefix fits", "histogram.cu", "key >> 16 == prefix[i]", "key >> 16 >= prefix[i]"),
    Mutant("one table for all prefixes", "histogram.cu",
           "65536ll * i + (key & 0xffff)", "(key & 0xffff)", case=13),
    Mutant("NaN is counted", "histogram.cu", "if (isnan(value)) continue;", ""),
    Mutant("a value on an edge is above it", "bin_rows.cu",
           "edge[place + step - 1] < value", "edge[place + step - 1] <= value"),
    Mutant("a search that ends early", "bin_rows.cu", "step > 0", "step > 1"),
    Mutant("NaN is in the first bin", "bin_rows.cu", "isnan(value) ? MISSING : place", "place"),
    Mutant("edges of another feature", "bin_rows.cu", "(long long)f * N_EDGES", "0"),
    Mutant("bins counted plainly", "count_bins.cu",
           "atomicAdd(&count[place], 1ull);", "count[place] += 1;"),
    Mutant("one group for all rows", "count_bins.cu", "(long long)group[row] * d", "0"),
    Mutant("an exponent off by one", "transforms.cuh",
           "(int)(bits >> 52 & 0x7ff) - 1022", "(int)(bits >> 52 & 0x7ff) - 1023"),
    Mutant("the remainder of 1 + x is lost", "transforms.cuh",
           "__dadd_rn(log, __ddiv_rn(lost, u))", "log"),
)  # fmt: skip

NEAR_MUTANTS = (
    Mutant("no barrier before a tile is loaded", "tile_query.cuh",
           "«__syncwarp();»  // all lanes are done with the previous tile", ""),
    Mutant("no barrier after a tile is loaded", "tile_query.cuh",
           "x[i] = space.x[(long long)index * space.d * TILE + i];\n  }\n  «__syncwarp();»", ""),
    Mutant("float32 decides", "tile_query.cuh", "uncertain == 0", "true", case=2),
    Mutant("eps itself is beyond", "tile_query.cuh",
           "exact_rdist(point, target.point(tile, j), query.space.d) > eps.limit",
           "exact_rdist(point, target.point(tile, j), query.space.d) >= eps.limit"),
    Mutant("the exact distance of another row", "tile_query.cuh",
           "exact_rdist(point, target.point(tile, j), query.space.d) > eps.limit",
           "exact_rdist(point, target.point(tile, i), query.space.d) > eps.limit"),
    Mutant("absolute values forgotten", "tile_query.cuh", "rdist + fabsf(t)", "rdist + t", case=3),
    Mutant("the largest difference keeps its sign", "tile_query.cuh",
           "fmaxf(rdist, «fabsf(t)»)", "t", case=9),
    Mutant("the largest difference with its sign in float64", "tile_query.cuh",
           "fabs(t) > rdist ? fabs(t) : rdist", "t > rdist ? t : rdist", case=10),
    Mutant("the last difference is the largest", "tile_query.cuh",
           "fabs(t) > rdist ? fabs(t) : rdist", "fabs(t)", case=10),
    Mutant("boxes without an upper corner", "tile_query.cuh", "z - low[«d + f»]", "f"),
    Mutant("the second half of a tile is the first", "tile_query.cuh",
           "x[«f * TILE + 32»] - z", "f * TILE"),
    Mutant("rows beyond the last are near", "tile_query.cuh",
           "ballot(!(rdist[0] > eps.far), !(rdist[1] > eps.far)) & rows",
           "ballot(!(rdist[0] > eps.far), !(rdist[1] > eps.far))", case=1),
    Mutant("a tile of some extent is dense", "tile_query.cuh",
           "rdist < eps.sure", "rdist < 4.0f * eps.sure", case=2),
    Mutant("a subtree too short", "traversal.cuh", "space.skip(node)", "space.skip(node) - 1"),
    Mutant("the last subtree is never visited", "traversal.cuh",
           "«node < last» &&", "node + 1 < last"),
    Mutant("the query tile is counted twice", "core_counts.cu",
           "«»while (level-- > 0 &&", "counter.visit(a, counter.pending);", case=1),
    Mutant("weights of the first half twice", "core_counts.cu",
           "tile * TILE + lane() + 32", "tile * TILE + lane()", case=3),
    Mutant("pairs added plainly", "core_counts.cu",
           "atomicAdd(n_distances, counter.n_distances);", "*n_distances += counter.n_distances;"),
    Mutant("a root attached plainly", "union_find.cuh",
           "atomicCAS(parent + high, high, low)",
           "parent[high] == high ? (parent[high] = low, high) : parent[high]"),
    Mutant("paths halved plainly", "union_find.cuh",
           "atomicMin(parent + i, grandparent);", "parent[i] = grandparent;"),
    Mutant("a mixed tile passes for one set", "component_hints.cuh",
           "ballot(differs[0], differs[1]) ? MIXED : element", "element"),
    Mutant("rows that are not near are joined", "connect_core.cu",
           "near && lane() == 0", "lane() == 0", case=2),
    Mutant("joined through rows that are not core", "connect_core.cu",
           "target.core[target_tile]", "target.space.rows[target_tile]"),
    Mutant("rows of a tile are not joined", "connect_core_in_tiles.cu",
           "unite_all(parent, component[i], rows, a, near);", ""),
    Mutant("the cluster of another row", "border_assignment.cu", "if («i < 32»)", "true"),
    Mutant("subtrees of lower clusters are passed over", "border_assignment.cu",
           "ballot(assigned[0] > lowest, assigned[1] > lowest)",
           "ballot(assigned[0] < lowest, assigned[1] < lowest)"),
    Mutant("ties go to the last row", "knn.cu", "row < rows[at - 1]", "row > rows[at - 1]"),
    Mutant("the limit of another row", "knn.cu", "lane() + 32", "lane()", case=3),
    Mutant("no barrier after a limit has changed", "knn.cu",
           "«__syncwarp();»\n    }\n  }\n\n  // The sum", ""),
    Mutant("a limit without the rounding of z", "knn.cu",
           "__dmul_rn(__dadd_rn(root, error.offset), error.rounding)", "__dmul_rn(root, 0.99999)"),
)  # fmt: skip

ALL_MUTANTS = MUTANTS + NEAR_MUTANTS


def write_mutants(folder: Path) -> None:
    """Write copies of the kernels, with all mutants in them, to a new folder."""
    shutil.copytree(KERNELS, folder)
    for file in {mutant.file for mutant in ALL_MUTANTS}:
        (path,) = folder.rglob(file)
        path.write_text(mutated(path.read_text(), [m for m in ALL_MUTANTS if m.file == file]))


def mutated(source: str, mutants: Iterable[Mutant]) -> str:
    """Return a file's text with a choice between all of its mutants."""
    places: dict[tuple[int, int], list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault(mutant.place(source), []).append(mutant)
    for (_, end), (begin, _) in pairwise(sorted(places)):
        assert end <= begin, f"mutants overlap in: {source[begin:end]}"
    for begin, end in sorted(places, reverse=True):
        text = source[begin:end]
        for mutant in places[begin, end]:
            text = mutant.choice(text)
        source = source[:begin] + text + source[end:]
    return source
