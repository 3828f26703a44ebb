// Switching stacks, to run threads as fibers.
//
// ucontext does the same portably, but each switch calls the operating system twice, which takes
// more than ten times as long; and a block of 256 threads switches some thousand times.
#pragma once

#include <cstdint>

namespace emulator {

// Pushes the registers that a function must preserve, stores the stack pointer in `*here`, and
// continues where `there` was stored. Rounding modes are not saved: no intrinsic switches while it
// has changed them.
extern "C" void emulator_switch(void** here, void* there);

#if defined(__x86_64__)

asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, %function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size emulator_switch, .-emulator_switch
)");

// Returns a stack pointer to switch to; `run` then starts with an empty stack below `top`, a
// multiple of 16. It must not return.
inline void* new_context(char* top, void (*run)()) {
  uint64_t* frame = reinterpret_cast<uint64_t*>(top);
  *--frame = 0;  // where `run` would return to; it also aligns the stack as a call would
  *--frame = reinterpret_cast<uint64_t>(run);
  for (int saved = 0; saved < 6; saved++) *--frame = 0;
  return frame;
}

#elif defined(__aarch64__)

asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, %function
emulator_switch:
  stp x19, x20, [sp, #-160]!
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x19, x20, [sp], #160
  ret
.size emulator_switch, .-emulator_switch
)");

inline void* new_context(char* top, void (*run)()) {
  uint64_t* frame = reinterpret_cast<uint64_t*>(top) - 20;
  for (int saved = 0; saved < 20; saved++) frame[saved] = 0;
  frame[11] = reinterpret_cast<uint64_t>(run);  // x30, the address that `ret` goes to
  return frame;
}

#else
#error "the emulator runs on x86-64 and on aarch64"
#endif

}  // namespace emulator
