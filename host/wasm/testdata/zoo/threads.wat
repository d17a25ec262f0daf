;; Waits on shared memory, which takes a real thread's time and is a clock.
;; Attacks: the refusal of threads.
(module
  ;;common
  (memory (export "memory") 1 1 shared)
  (func $attack (param $left i64) (result i32)
    (drop (memory.atomic.wait32 (i32.const 256) (i32.const 0) (i64.const -1)))
    (i32.const 4)))
