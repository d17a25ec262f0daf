;; Writes all over its memory, in a place that the body chooses, and traps where
;; the body says "t": what the snapshot must undo, ten thousand times.
;; Attacks: the memory of the next call is the snapshot's.
(module
  ;;common
  (memory (export "memory") 8)
  (global $seen (mut i64) (i64.const 7))
  (data (i32.const 400000) "what the snapshot has")
  (func $attack (param $left i64) (result i32)
    (local $at i32) (local $n i32)
    (local.set $at (i32.add (i32.const 256) (i32.rem_u (i32.mul (i32.load (i32.const 17)) (i32.const 2654435761)) (i32.const 500000))))
    (global.set $seen (i64.extend_i32_u (local.get $at)))
    (local.set $n (i32.const 40))
    (loop $again
      (i64.store (local.get $at) (i64.const -1))
      (local.set $at (i32.add (i32.const 256) (i32.rem_u (i32.mul (local.get $at) (i32.const 1664525)) (i32.const 500000))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (memory.fill (i32.const 400000) (i32.const 0) (i32.const 5000))
    (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 116)) (then (unreachable)))
    (call $answer (i32.const 16) (i32.const 8))))
