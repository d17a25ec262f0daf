;; Declares 50,000 locals, in a few bytes, and calls itself: 400 KB for a frame.
;; Attacks: the limit of locals.
(module
  ;;common
  (memory (export "memory") 1)
  (func $down (param $left i64) (result i64)
    ;;repeat 1000 (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (if (result i64) (i64.eq (local.get $left) (i64.const 1))
      (then (i64.const 0))
      (else (i64.add (local.get 50000) (call $down (i64.sub (local.get $left) (i64.const 1)))))))
  (func $attack (param $left i64) (result i32)
    (drop (call $down (local.get $left)))
    (i32.const 4)))
