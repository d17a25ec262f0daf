;; Counts its calls in the upper half of a v128 global.
;; Attacks: the globals of the next call are the snapshot's.
(module
  ;;common
  (memory (export "memory") 1)
  (global $v (mut v128) (v128.const i64x2 0 48))
  (func $attack (param $left i64) (result i32)
    (global.set $v (i64x2.add (global.get $v) (v128.const i64x2 0 1)))
    (i64.store8 (i32.const 256) (i64x2.extract_lane 1 (global.get $v)))
    (call $answer (i32.const 256) (i32.const 1))))
