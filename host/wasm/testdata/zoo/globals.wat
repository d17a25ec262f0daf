;; Counts its calls in globals of every number type, and answers with the count
;; if all of them agree.
;; Attacks: the globals of the next call are the snapshot's.
(module
  ;;common
  (memory (export "memory") 1)
  (global $a (mut i32) (i32.const 48))
  (global $b (mut i64) (i64.const 48))
  (global $c (mut f32) (f32.const 48))
  (global $d (mut f64) (f64.const 48))
  (func $attack (param $left i64) (result i32)
    (global.set $a (i32.add (global.get $a) (i32.const 1)))
    (global.set $b (i64.add (global.get $b) (i64.const 1)))
    (global.set $c (f32.add (global.get $c) (f32.const 1)))
    (global.set $d (f64.add (global.get $d) (f64.const 1)))
    (i32.store8 (i32.const 256) (global.get $a))
    (i32.store8 (i32.const 257) (i32.wrap_i64 (global.get $b)))
    (i32.store8 (i32.const 258) (i32.trunc_f32_u (global.get $c)))
    (i32.store8 (i32.const 259) (i32.trunc_f64_u (global.get $d)))
    (call $answer (i32.const 256) (i32.const 4))))
