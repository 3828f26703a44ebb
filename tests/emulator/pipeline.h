// Asynchronous copies from global to shared memory.
#pragma once

EMULATOR_INTRINSIC void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  emulator::issue_copy(to, from, bytes);
}

EMULATOR_INTRINSIC void __pipeline_commit() { emulator::close_group(); }

EMULATOR_INTRINSIC void __pipeline_wait_prior(size_t groups_left) {
  emulator::wait_for_groups(groups_left);
}
