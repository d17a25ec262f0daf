;; Calls itself without end: the engine's stack grows by each frame.
;; Attacks: the bound of the stack, fuel at function entries.
(module
  ;;common
  (memory (export "memory") 1)
  (func $down (param $left i64) (result i64)
    (if (result i64) (i64.eq (local.get $left) (i64.const 1))
      (then (i64.const 0))
      (else (i64.add (i64.const 1) (call $down (i64.sub (local.get $left) (i64.const 1)))))))
  (func $attack (param $left i64) (result i32)
    (drop (call $down (local.get $left)))
    (i32.const 4)))
