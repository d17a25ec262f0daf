;; Leaves bits in the upper halves of the slots in which arguments cross, as Go's
;; compiler does: by i64 results, i64 arguments and i64 values cut to 32 bits.
;; It answers with what two host calls made of their arguments then.
;; Attacks: only the lower half of an i32 counts.
(module
  (import "postern1" "now" (func $now (result i64)))
  (import "postern1" "set_i64" (func $seti (param i32 i64) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $dirty (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.add (local.get 0) (i64.add (local.get 15) (local.get 23))))
  (func $spill (param i64) (result i64)
    (call $dirty
      ;;repeat 24 (i64.or (local.get 0) (i64.const 0x7bad0bad00000000))
    ))
  (func $attack (param $left i64) (result i32)
    (local $ones i64)
    (local.set $ones (i64.sub (local.get $left) (i64.const 1)))
    (drop (call $spill (local.get $ones)))
    (drop (call $seti (i32.wrap_i64 (i64.shl (local.get $ones) (i64.const 32))) (local.get $ones)))
    (drop (call $now))
    (i32.store (i32.const 256) (call $read
      (i32.wrap_i64 (i64.shl (local.get $ones) (i64.const 32)))
      (i32.wrap_i64 (i64.or (i64.shl (local.get $ones) (i64.const 32)) (i64.const 1)))
      (i32.wrap_i64 (i64.or (i64.shl (local.get $ones) (i64.const 32)) (i64.const 260)))
      (i32.wrap_i64 (i64.or (i64.shl (local.get $ones) (i64.const 32)) (i64.const 3)))))
    (drop (call $seti (i32.wrap_i64 (i64.shl (local.get $ones) (i64.const 32))) (local.get $ones)))
    (drop (call $now))
    (i32.store (i32.const 264) (call $read (i32.const 0) (i32.const 1) (i32.const 268) (i32.const 3)))
    (call $answer (i32.const 256) (i32.const 16))))
