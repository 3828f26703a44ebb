"""Bugs seeded into copies of the kernels: check mode or a wrong result must detect each of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
from emulator.build import included, unavailable
from emulator.launcher import KERNELS, ONE_BLOCK, SMALL
from emulator.report import EmulatorError
from emulator.strict_arrays import StrictLauncher
from support.helpers import in_turn
from support.kernel_cases import CASES, MANY_ROWS, KernelCase, try_out
from support.neighbor_cases import NEAR_CASES, NearCase, try_near

from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.launcher import Kernel, Limits
from gpuseg.backends.cuda.lloyd import PassKind
from gpuseg.backends.cuda.neighbors import CudaNeighbors

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


@dataclass(frozen=True)
class Mutant:
    """A change of a kernel's source.

    Attributes
    ----------
    bug : str
    file : str
        Name of a file in a folder of ``kernels/``.
    old, new : str
        `old` occurs once in the file, and is replaced by `new`.
    case : int
        Index of the case that is run first, where case 0 does not detect the bug.
    """

    bug: str
    file: str
    old: str
    new: str
    case: int = 0


MUTANTS = (
    # Barriers left out.
    Mutant("no barrier before a tile is replaced", "score_tile.cuh",
           "__syncthreads();  // all threads are done with what is replaced now", "", case=10),
    Mutant("no barrier after a tile is fetched", "score_tile.cuh",
           "memory.loaded = from;\n        __syncthreads();", "memory.loaded = from;"),
    Mutant("no barrier before rows are queued", "lloyd.cu",
           "length = queued;\n      __syncthreads();", "length = queued;"),
    Mutant("no barrier after rows are queued", "lloyd.cu",
           "&length);  // 1\n      __syncthreads();", "&length);  // 1"),
    Mutant("no barrier before moved rows are listed", "lloyd.cu",
           "  __syncthreads();\n  store_bounds(", "  store_bounds("),
    Mutant("no barrier after moved rows are listed", "lloyd.cu",
           "moved);\n  __syncthreads();\n  move_rows", "moved);\n  move_rows"),
    Mutant("no barrier after rows are moved", "lloyd.cu",
           "moved, sums);\n  __syncthreads();\n}", "moved, sums);\n}"),
    Mutant("no barrier before sizes are added", "assign.cu",
           "  __syncthreads();\n  for (int j = threadIdx.x; totals.sizes && j < k; j += THREADS) {",
           "  for (int j = threadIdx.x; totals.sizes && j < k; j += THREADS) {"),
    # Additions that are not atomic.
    Mutant("plain addition to a block's sums", "center_sums.cuh",
           "unsigned before = atomicAdd(&sums.low[cell], low);",
           "unsigned before = sums.low[cell]; sums.low[cell] += low;"),
    Mutant("plain addition to the sums of all blocks", "center_sums.cuh",
           "if (steps) atomicAdd(&sums.all[cell], steps);", "if (steps) sums.all[cell] += steps;",
           case=2),
    Mutant("plain addition to all sums, row by row", "center_sums.cuh",
           "    atomicAdd(&sums.all[cell], (unsigned long long)steps);",
           "    sums.all[cell] += (unsigned long long)steps;", case=7),
    Mutant("plain counting of moved rows", "lloyd.cu",
           "int index = atomicAdd(moved.count, 1);", "int index = (*moved.count)++;"),
    Mutant("plain counting of a segment's rows", "assign.cu",
           "atomicAdd(&totals.sizes[label], 1);", "totals.sizes[label] += 1;"),
    # One too many, one too few.
    Mutant("a slot too many", "lloyd.cu", "if (slot >= rows.count) break;",
           "if (slot > rows.count) break;"),
    Mutant("one row too many is queued", "lloyd.cu", "min(PIECE, stop - from[p])",
           "min(PIECE, stop + 1 - from[p])"),
    Mutant("a row too many is assigned", "assign.cu", "if (row >= n) break;",
           "if (row > n) break;"),
    Mutant("a distance too many", "distances.cu", "i < n * k;", "i <= n * k;"),
    Mutant("the last row is never assigned", "assign.cu", "first < n;", "first < n - 1;", case=11),
    Mutant("a reduction that leaves out half a warp", "assign.cu",
           "for (int offset = 16; offset", "for (int offset = 8; offset", case=1),
    Mutant("slots that are not filled read the queue", "score_tile.cuh",
           "rows.queue[min(slot, rows.count - 1)]", "rows.queue[slot]"),
    # Wrong indices.
    Mutant("a tile stored the other way round", "score_tile.cuh",
           "tile[f * TILE + target[i]] =", "tile[target[i] * features + f] ="),
    Mutant("the shift of another feature", "score_tile.cuh",
           "rows.shift[from + f];", "rows.shift[f];", case=12),
    Mutant("always the first features of the centers", "score_tile.cuh",
           "int offset = (group * rows.d + from) * CENTERS;",
           "int offset = group * rows.d * CENTERS;", case=12),
    Mutant("the norms of the first group", "score_tile.cuh",
           "score[r][j] = run.half_norms[group * CENTERS + j];",
           "score[r][j] = run.half_norms[j];", case=3),
    Mutant("the centers of the first run", "lloyd.cu",
           "half_norms + group * CENTERS,", "half_norms,"),
    Mutant("rows are taken from the center they join", "lloyd.cu",
           "(first_center + before) * columns;", "(first_center + now) * columns;"),
    Mutant("the drift of the old label", "lloyd.cu",
           "pass.drift[first_center + now]);", "pass.drift[first_center + before]);"),
    Mutant("always the first rows of the queue", "lloyd.cu",
           "queue + queued - count, count", "queue, count", case=2),
    Mutant("rows and centers exchanged", "distances.cu", "x + row * d,", "x + center * d,"),
    # Shared memory that overlaps, or is not set.
    Mutant("the list of moved rows lies on the queue", "lloyd.cu",
           "{lists, lists + TILE,", "{queue, lists + TILE,"),
    Mutant("the block's sums lie beyond its memory", "lloyd.cu",
           "(lists + 3 * TILE);", "(lists + 3 * TILE + 2);"),
    Mutant("the block's sums are not cleared", "lloyd.cu", "  clear(sums);\n", ""),
    Mutant("the block's upper words are not cleared", "center_sums.cuh",
           "    sums.high[cell] = 0;\n", ""),
    # Wrong decisions and wrong arithmetic.
    Mutant("ties go to the last center", "exact_distances.cuh",
           "if (distance < least) {", "if (distance <= least) {", case=4),
    Mutant("ties between lanes go to the last center", "exact_distances.cuh",
           "other_label < label)", "other_label > label)"),
    Mutant("float32 decides everything", "resolve_uncertain.cuh",
           "gap[r] == UNCERTAIN;", "gap[r] > 2 * LARGEST_GAP;", case=6),
    Mutant("the second best is forgotten", "best_scores.cuh",
           "fminf(row.second, fmaxf(row.best, score));",
           "fmaxf(row.best, score);"),
    Mutant("a moved row stays in the old sum", "lloyd.cu", "if (from >= 0) add", "if (false) add"),
    Mutant("fresh rows are subtracted from a center", "lloyd.cu",
           "if (from >= 0) add", "if (true) add", case=12),
    Mutant("a fused multiply-add in exact distances", "exact_distances.cuh",
           "total = __dadd_rn(total, __dmul_rn(difference, difference));",
           "total = fma(difference, difference, total);", case=1),
    Mutant("steps of 32 bits", "center_sums.cuh",
           "long long coarse = grid_steps(", "int coarse = grid_steps("),
    Mutant("no carry", "center_sums.cuh", "steps >> 32) + carry;", "steps >> 32);"),
    Mutant("a carry without overflow", "center_sums.cuh", "before > 0xffffffffu - low;",
           "before < 0xffffffffu - low;"),
    Mutant("weights are left out", "lloyd.cu",
           "__dmul_rn(w, offset)", "offset"),
    Mutant("any slack holds", "lloyd.cu",
           "if (slack <= upper_half(drift)) failed", "if (slack == 0) failed"),
    Mutant("slack is rounded up", "row_bounds.cuh",
           "(Slack)upper_half(slack)", "(Slack)(upper_half(slack) + 1)"),
    Mutant("negative slack passes for a large one", "row_bounds.cuh",
           "slack > 0.0f ? (Slack)upper_half(slack) : (Slack)0", "(Slack)upper_half(slack)"),
    Mutant("the halves of a word borrow from each other", "lloyd.cu",
           "(slacks.word[w] | signs) - both;", "slacks.word[w] - both;"),
    Mutant("slacks of neighboring rows are swapped", "lloyd.cu",
           "slacks.word[j / 2] >> 16 * (j % 2) & 0xffff;",
           "slacks.word[j / 2] >> 16 * (1 - j % 2) & 0xffff;", case=1),
    Mutant("only the largest drift of the first run", "lloyd.cu",
           "low_slack(slacks, pass.max_drift[i], count)",
           "low_slack(slacks, pass.max_drift[0], count)", case=2),
    Mutant("the remainder of the first grid is lost", "reproducible_sums.cuh",
           "*rest = __dsub_rn(value, __dsub_rn(shifted, magic));", "*rest = 0.0;"),
    Mutant("labels are not written", "lloyd.cu", "    pass.label[i][row] = (Label)now;\n", ""),
    # Passes over all rows.
    Mutant("copies are not waited for", "lloyd_full.cu", "    wait_for_copies<1>();\n", ""),
    Mutant("the tile before is waited for", "lloyd_full.cu",
           "wait_for_copies<1>();", "wait_for_copies<2>();"),
    Mutant("no barrier after copies have arrived", "lloyd_full.cu",
           "    __syncwarp();  // the copies of the other lanes have arrived\n", ""),
    Mutant("no barrier before copies replace a tile", "lloyd_full.cu",
           "    __syncwarp();  // all lanes are done with the tile before it is replaced\n", "",
           case=13),
    Mutant("both tiles use one stage", "tile_stream.cuh",
           "{tiles + stage * TILE_ROWS * pitch,", "{tiles + 0 * TILE_ROWS * pitch,", case=2),
    Mutant("no barrier before the centers are used", "lloyd_full.cu",
           "teams_of(d);\n  __syncthreads();", "teams_of(d);"),
    Mutant("no barrier before sums are flushed", "lloyd_full.cu",
           "  __syncthreads();\n  flush(sums);", "  flush(sums);"),
    Mutant("a row too many is copied", "tile_stream.cuh", "(long long)TILE_ROWS, n - first))",
           "(long long)TILE_ROWS, n + 1 - first))"),
    Mutant("the last piece is not copied", "tile_stream.cuh",
           "- lane + 31) / 32;", "- lane + 30) / 32;"),
    Mutant("pieces of a row run into the next", "tile_stream.cuh",
           "to += stream.pitch - stream.pieces * WIDTH;", "to += 0;", case=3),
    Mutant("tiles overlap", "lloyd_full.cu", "gridDim.x * WARPS * TILE_ROWS;",
           "gridDim.x * WARPS * (TILE_ROWS - 1);", case=2),
    Mutant("the shift is forgotten", "score_fma.cuh", "z[r].value[f] -= shift.value[f];", ""),
    Mutant("the norms of the first run", "score_fma.cuh",
           "panel.norms + (first + group) * CENTERS", "panel.norms + group * CENTERS"),
    Mutant("the rows of another lane", "score_fma.cuh",
           "rows + 32 * r * PITCH(d) + from", "rows + r * PITCH(d) + from"),
    Mutant("the shift is forgotten, for tensor cores", "score_mma.cuh",
           "z.value[1] -= shift.value[1];", "", case=3),
    Mutant("the lower half of the rows is the upper one", "score_mma.cuh",
           "(16 * m + 8 * h) * PITCH(d)", "(16 * m) * PITCH(d)", case=3),
    Mutant("the low parts of the rows are lost", "score_mma.cuh",
           "product < 2 ? rows.high[m][step] : rows.low[m][step]", "rows.high[m][step]", case=3),
    Mutant("the low parts of the centers are lost", "score_mma.cuh",
           "product == 1 ? low[i] : high[i]", "high[i]", case=3),
    Mutant("a product too many", "score_mma.cuh",
           "step + product == 0 ? norm[i].value : sums[i][m]",
           "product == 0 ? norm[i].value : sums[i][m]", case=3),
    Mutant("the label of another column", "score_mma.cuh",
           "(group + i) * CENTERS + lane % 4 * 2 + c % 2", "(group + i) * CENTERS + lane % 4 * 2",
           case=3),
    Mutant("lanes are merged with the wrong lanes", "score_mma.cuh",
           "bool second_m = lane / 2 % 2,", "bool second_m = lane % 2,", case=3),
    Mutant("slots of other lanes", "score_mma.cuh",
           "return 16 * (lane / 2 % 2) + 8 * (lane % 2) + lane / 4;",
           "return 16 * (lane % 2) + 8 * (lane / 2 % 2) + lane / 4;", case=3),
    Mutant("the margin of float32 for tensor cores", "score_mma.cuh",
           "37 * (3 * KSTEPS + 1) + d + 8, 3.1f * 256.0f", "d + 8, 0.0f", case=4),
    Mutant("merged lanes forget the second best", "best_scores.cuh",
           "fminf(fmaxf(row.best, other.best), fminf(row.second, other.second))",
           "fminf(row.second, other.second)", case=3),
    Mutant("rows in doubt keep their label", "lloyd_full.cu",
           "if (lane == source) row.label = label;", "", case=4),
    Mutant("the exact label of another row", "lloyd_full.cu",
           "tile.first + slot_of(source, r)", "tile.first + slot_of(lane, r)"),
    Mutant("rows beyond the last are written", "lloyd_full.cu",
           "bool inside = slot < tile.count, moves", "bool inside = slot <= tile.count, moves"),
    Mutant("the drift of the first run", "lloyd_full.cu", "drift[run.center + now]", "drift[now]"),
    Mutant("moved rows stay in the old sums", "lloyd_full.cu",
           "if (!run.fresh) sum", "if (false) sum"),
    Mutant("rows of two centers are one", "sum_by_label.cuh",
           "__ballot_sync(all, cell[r] == common) & rest[r]", "rest[r]"),
    Mutant("a row for each team", "sum_by_label.cuh", "same[r] & teams.turns", "same[r]"),
    Mutant("the weight of one row", "sum_by_label.cuh", "sign * rows * steps.coarse",
           "sign * steps.coarse", case=1),
    Mutant("weights are left out of streamed sums", "sum_by_label.cuh",
           "if (weight) term = __dmul_rn", "if (false) term = __dmul_rn"),
    # Columns.
    Mutant("squares shifted once", "summarize.cu",
           "square >> 24 << 2 * shift;", "square >> 24 << shift;"),
    Mutant("the last window is lost", "summarize.cu",
           "    flush(sums, tables);\n    if (least", "    if (least"),
    Mutant("a sign is lost", "summarize.cu", "bits >> 31 ? -shifted : shifted", "shifted"),
    Mutant("a plain minimum", "summarize.cu", "atomicMin(&firsts[kind * d + f], first_row + row);",
           "firsts[kind * d + f] = min(firsts[kind * d + f], first_row + row);"),
    Mutant("idle threads work", "summarize.cu", "if (threadIdx.x >= rows * width) return;", "",
           case=3),
    Mutant("the bits below the upper ones are lost", "summarize.cu",
           "if (lower) atomicAdd", "if (false) atomicAdd"),
    Mutant("the fill of the first column", "prepare.cu", "fill[f]", "fill[0]"),
    Mutant("scaling in float32", "prepare.cu",
           "__ddiv_rn(__dsub_rn(transformed, shift[f]), scale[f])",
           "((float)transformed - (float)shift[f]) / (float)scale[f]"),
    Mutant("clipping by another feature's end", "prepare.cu", "value > bounds[d + f]",
           "value > bounds[d]"),
    Mutant("clipping at the wrong end", "prepare.cu", "value = bounds[d + f]", "value = bounds[f]"),
    Mutant("a value too many is prepared", "prepare.cu", "i < n * d;", "i <= n * d;"),
    Mutant("another feature's power", "prepare.cu", "power[f]", "power[0]"),
    Mutant("values below 0 keep their sign", "transforms.cuh",
           "return negative ? -magnitude : magnitude;", "return magnitude;"),
    Mutant("one power for both signs", "transforms.cuh",
           "negative ? __dsub_rn(2.0, power) : power;", "power;"),
    Mutant("a projection without the mean", "project.cu",
           "__dsub_rn((double)row[f], mean[f])", "(double)row[f]"),
    Mutant("a projection in float32", "project.cu", "double total = 0.0;", "float total = 0.0f;"),
    Mutant("a run too long", "gram.cu", "(int)min((long long)RUN, n - first)", "RUN"),
    Mutant("sums of pairs added plainly", "gram.cu",
           "atomicAdd(&steps[pair], (unsigned long long)coarse);", "steps[pair] += coarse;",
           case=2),
    Mutant("pairs below the diagonal are added too", "gram.cu", "if (j < i) continue;", ""),
    Mutant("a cell too late", "distance_sums.cu", "cell[row + 1] != cell[row]",
           "cell[row] != cell[first]"),
    Mutant("the cell of the run's last row", "distance_sums.cu", "(long long)cell[row] * m",
           "(long long)cell[end - 1] * m"),
    Mutant("a point without its feature", "distance_sums.cu", "(long long)f * m + j", "j"),
    Mutant("no origin", "power_sums.cu", ", origin[t]);", ", 0.0);"),
    Mutant("the logarithm without its sign", "power_sums.cu", "value < 0.0 ? -log : log", "log"),
    Mutant("the squares use the grid of the values", "power_sums.cu",
           "ColumnSum squares = {magic + m + t", "ColumnSum squares = {magic + t"),
    Mutant("the last value is not rounded", "to_float32.cu", "i < n;", "i + 1 < n;"),
    Mutant("a value too many is rounded", "to_float32.cu", "i < n;", "i <= n;"),
    Mutant("a norm without the first feature", "normalize.cu", "int f = 0; f < d; ++f) squares",
           "int f = 1; f < d; ++f) squares"),
    Mutant("the last value is not decoded", "decode_column.cu", "row < n;", "row + 1 < n;"),
    Mutant("a value too many is decoded", "decode_column.cu", "row < n;", "row <= n;"),
    Mutant("the first values of a buffer", "decode_column.cu", "long long i = first + row;",
           "long long i = row;"),
    Mutant("bits from the highest on", "decode_column.cu", ">> (i & 7)", ">> (7 - (i & 7))"),
    Mutant("missing values are present", "decode_column.cu",
           "bool is_present = !present ||", "bool is_present = true ||"),
    Mutant("a NaN without its sign", "decode_column.cu",
           "((unsigned)(bits >> 32) & 0x80000000u) |", ""),
    Mutant("a NaN without its bits", "decode_column.cu",
           " | ((unsigned)(bits >> 29) & 0x3fffffu)", ""),
    Mutant("NaN of float32 by way of float64", "decode_column.cu", "is_present && type == F32 ?",
           "is_present && type == F32 && !isnan(value) ?"),
    Mutant("integers directly to float32", "decode_column.cu",
           "case I64: return value_at<long long>(values, i);",
           "case I64: return (float)((const long long*)values)[i];"),
    Mutant("unsigned integers are signed", "decode_column.cu", "value_at<unsigned long long>(",
           "value_at<long long>("),
    Mutant("infinity is refused", "decode_column.cu", "isinf(rounded) && !isinf(value)",
           "isinf(rounded)"),
    Mutant("the position of another feature", "decode_column.cu", "x[row * d + feature] = rounded;",
           "x[row * d + (feature + 1) % d] = rounded;"),
    Mutant("flags the wrong way round", "decode_column.cu", "? 1.0f : 0.0f;", "? 0.0f : 1.0f;"),
    Mutant("negative weights", "decode_column.cu", "value >= 0.0 &&", "value >= -1.0 &&"),
    Mutant("weights beyond float32", "decode_column.cu", "<= 3.4028234663852886e38", "<= 1e300"),
    Mutant("the largest weight is refused", "decode_column.cu", "<= 3.4028234663852886e38",
           "< 3.4028234663852886e38"),
    Mutant("refused values counted plainly", "decode_column.cu",
           "isinf(value)) atomicAdd(refused, 1ull);", "isinf(value)) *refused += 1;", case=2),
    Mutant("positions counted from zero", "digest.cu",
           "(unsigned long long)(first_row + row)", "(unsigned long long)row"),
    Mutant("a digest added plainly", "digest.cu", "atomicAdd(total, sum);", "*total += sum;"),
    Mutant("every prefix fits", "histogram.cu", "key >> 16 == prefix[i]", "key >> 16 >= prefix[i]"),
    Mutant("one table for all prefixes", "histogram.cu", "65536ll * i + (key", "(key", case=13),
    Mutant("NaN is counted", "histogram.cu", "if (isnan(value)) continue;", ""),
    Mutant("an exponent off by one", "transforms.cuh", "0x7ff) - 1022", "0x7ff) - 1023"),
    Mutant("the remainder of 1 + x is lost", "transforms.cuh",
           "return __dadd_rn(log, __ddiv_rn(lost, u));", "return log;"),
)  # fmt: skip

NEAR_MUTANTS = (
    Mutant("no barrier before a tile is loaded", "tile_query.cuh",
           "__syncwarp();  // all lanes are done with the previous tile", ""),
    Mutant("no barrier after a tile is loaded", "tile_query.cuh",
           "    x[i] = space.x[(long long)index * space.d * TILE + i];\n  }\n  __syncwarp();",
           "    x[i] = space.x[(long long)index * space.d * TILE + i];\n  }"),
    Mutant("float32 decides", "tile_query.cuh",
           "if (uncertain == 0) return near;", "return near;", case=2),
    Mutant("eps itself is beyond", "tile_query.cuh", "> eps.limit;", ">= eps.limit;"),
    Mutant("the exact distance of another row", "tile_query.cuh",
           "target.point(tile, j), query.space.d) > eps",
           "target.point(tile, i), query.space.d) > eps"),
    Mutant("absolute values forgotten", "tile_query.cuh", "rdist + fabsf(t)", "rdist + t", case=3),
    Mutant("the largest difference keeps its sign", "tile_query.cuh", "fmaxf(rdist, fabsf(t))",
           "fmaxf(rdist, t)", case=9),
    Mutant("the largest difference with its sign in float64", "tile_query.cuh",
           "return fabs(t) > rdist ? fabs(t) : rdist;", "return t > rdist ? t : rdist;", case=10),
    Mutant("the last difference is the largest", "tile_query.cuh",
           "return fabs(t) > rdist ? fabs(t) : rdist;", "return fabs(t);", case=10),
    Mutant("boxes without an upper corner", "tile_query.cuh", "z - low[d + f]", "z - low[f]"),
    Mutant("the second half of a tile is the first", "tile_query.cuh",
           "x[f * TILE + 32] - z", "x[f * TILE] - z"),
    Mutant("rows beyond the last are near", "tile_query.cuh",
           "!(rdist[1] > eps.far)) & rows;", "!(rdist[1] > eps.far));", case=1),
    Mutant("a tile of some extent is dense", "tile_query.cuh",
           "return rdist < eps.sure;", "return rdist < 4.0f * eps.sure;", case=2),
    Mutant("a subtree too short", "traversal.cuh",
           "siblings.last[count] = is_left ? space.skip(node) : right;",
           "siblings.last[count] = is_left ? space.skip(node) - 1 : right;"),
    Mutant("the last subtree is never visited", "traversal.cuh",
           "while (node < last &&", "while (node + 1 < last &&"),
    Mutant("the query tile is counted twice", "core_counts.cu",
           "      while (level-- > 0 &&",
           "      counter.visit(a, counter.pending);\n      while (level-- > 0 &&", case=1),
    Mutant("weights of the first half twice", "core_counts.cu",
           "total += weight[tile * TILE + lane() + 32]",
           "total += weight[tile * TILE + lane()]", case=3),
    Mutant("pairs added plainly", "core_counts.cu",
           "counter.n_distances) atomicAdd(n_distances, counter.n_distances);",
           "counter.n_distances) *n_distances += counter.n_distances;"),
    Mutant("a root attached plainly", "union_find.cuh",
           "int before = atomicCAS(parent + high, high, low);",
           "int before = parent[high]; if (before == high) parent[high] = low;"),
    Mutant("paths halved plainly", "union_find.cuh",
           "atomicMin(parent + i, grandparent);", "parent[i] = grandparent;"),
    Mutant("a mixed tile passes for one set", "component_hints.cuh",
           "return ballot(differs[0], differs[1]) ? MIXED : element;", "return element;"),
    Mutant("rows that are not near are joined", "connect_core.cu",
           "} else if (near && lane() == 0) {",
           "} else if (lane() == 0) {", case=2),
    Mutant("joined through rows that are not core", "connect_core.cu",
           "others = target.core[target_tile];", "others = target.space.rows[target_tile];"),
    Mutant("rows of a tile are not joined", "connect_core_in_tiles.cu",
           "unite_all(parent, component[i], rows, a, near);", ""),
    Mutant("the cluster of another row", "border_assignment.cu", "if (i < 32) {", "if (true) {"),
    Mutant("subtrees of lower clusters are passed over", "border_assignment.cu",
           "ballot(assigned[0] > lowest, assigned[1] > lowest)",
           "ballot(assigned[0] < lowest, assigned[1] < lowest)"),
    Mutant("ties go to the last row", "knn.cu",
           "row < rows[at - 1]", "row > rows[at - 1]"),
    Mutant("the limit of another row", "knn.cu",
           "!(rdist[1] > cutoff[lane() + 32])", "!(rdist[1] > cutoff[lane()])", case=3),
    Mutant("no barrier after a limit has changed", "knn.cu",
           "      __syncwarp();\n    }\n  }\n\n  // The sum",
           "    }\n  }\n\n  // The sum"),
    Mutant("a limit without the rounding of z", "knn.cu",
           "__dmul_rn(__dadd_rn(root, error.offset), error.rounding)", "__dmul_rn(root, 0.99999)"),
)  # fmt: skip

ONE_MULTIPROCESSOR = replace(SMALL, multiprocessors=1)

SCHEDULES = ("up", "fuzz")

ALL_CASES = (*CASES, MANY_ROWS)

CHOICES: tuple[PassKind, ...] = ("auto", "full")
"""With so few rows, only a first pass streams all rows by default."""

MAX_FEATURES = 64
"""Cases with more features have no passes that stream all rows."""


class WatchingLauncher(StrictLauncher):
    """Watches every access of the kernels that include a file, and no others.

    Parameters
    ----------
    file : str
        Name of the changed file.
    """

    def __init__(self, file: str, schedule: str, folder: Path, limits: Limits) -> None:
        super().__init__(True, schedule, folder=folder, limits=limits)
        self.kernels = kernels_with(folder, file)

    def watches(self, kernel: Kernel) -> bool:
        return kernel.name in self.kernels


def kernels_with(folder: Path, file: str) -> set[str]:
    """Return the kernels that include a file."""
    folder = folder.resolve()
    (changed,) = folder.rglob(file)
    return {path.stem for path in folder.rglob("*.cu") if changed in included(path, folder)}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_mutant_is_caught(
    mutant: Mutant, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    """The end of the test run lists how each mutant was detected."""
    record_property(mutant.bug, detect(mutated_kernels(mutant, tmp_path), mutant))


def mutated_kernels(mutant: Mutant, tmp_path: Path) -> Path:
    """Return a copy of the kernels with the mutant among them."""
    folder = tmp_path / "kernels"
    shutil.copytree(KERNELS, folder)
    (file,) = folder.rglob(mutant.file)
    source = file.read_text()
    assert source.count(mutant.old) == 1, f"{source.count(mutant.old)} matches in the file"
    file.write_text(source.replace(mutant.old, mutant.new))
    return folder


def detect(folder: Path, mutant: Mutant) -> str:
    """Return the first error that the kernels in a folder cause."""
    kernels = kernels_with(folder, mutant.file)
    for schedule, case, choice in product(SCHEDULES, in_order(ALL_CASES, mutant), CHOICES):
        if choice == "full" and ("lloyd_full" not in kernels or case.d > MAX_FEATURES):
            continue  # no such pass, or none that the mutant changes
        launcher = WatchingLauncher(mutant.file, schedule, folder, ONE_MULTIPROCESSOR)
        try:
            try_out(CudaBackend(launcher, choice), case, kernels)
        except EmulatorError as error:
            return str(error).splitlines()[1].strip()
        except AssertionError as error:
            return f"wrong: {error}".splitlines()[0]
    pytest.fail("the bug was not detected")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", NEAR_MUTANTS, ids=lambda mutant: mutant.bug)
def test_mutant_of_dbscan_is_caught(
    mutant: Mutant, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    record_property(mutant.bug, detect_in_dbscan(mutated_kernels(mutant, tmp_path), mutant))


def detect_in_dbscan(folder: Path, mutant: Mutant) -> str:
    """Return the first error that the kernels of DBSCAN in a folder cause."""
    for schedule, case in product(SCHEDULES, in_order(NEAR_CASES, mutant)):
        launcher = WatchingLauncher(mutant.file, schedule, folder, ONE_BLOCK)
        try:
            try_near(CudaNeighbors(launcher), case)
        except EmulatorError as error:
            return str(error).splitlines()[1].strip()
        except AssertionError as error:
            return f"wrong: {error}".splitlines()[0]
    pytest.fail("the bug was not detected")


T = TypeVar("T")


def in_order(cases: Sequence[T], mutant: Mutant) -> list[T]:
    """Return all cases, the mutant's case first."""
    return [cases[mutant.case], *(cases[i] for i in range(len(cases)) if i != mutant.case)]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("case", "schedule"), in_turn(ALL_CASES, SCHEDULES, step=2))
def test_original_kernels_pass(case: KernelCase, schedule: str, choice: PassKind) -> None:
    if choice == "full" and case.d > MAX_FEATURES:
        pytest.skip("there is no such pass")
    launcher = StrictLauncher(True, schedule, folder=KERNELS, limits=ONE_MULTIPROCESSOR)
    try_out(CudaBackend(launcher, choice), case, {"lloyd_full"} if choice == "full" else ())


@pytest.mark.slow
@pytest.mark.parametrize(("case", "schedule"), in_turn(NEAR_CASES, SCHEDULES, step=2))
def test_original_kernels_of_dbscan_pass(case: NearCase, schedule: str) -> None:
    launcher = StrictLauncher(True, schedule, folder=KERNELS, limits=ONE_BLOCK)
    try_near(CudaNeighbors(launcher), case)
