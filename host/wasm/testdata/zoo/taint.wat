;; Keeps the body of a call in its memory, in a global and, having grown, beyond
;; the memory that it began with, and answers with what it finds of an earlier
;; one: 24 bytes, 8 from each place, dots where there is nothing.
;; Attacks: nothing of one call is there in the next.
(module
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 30000) "........")
  (data (i32.const 256) "........................")
  (global $kept (mut i64) (i64.const 0x2e2e2e2e2e2e2e2e))
  (func $attack (param $left i64) (result i32)
    (i64.store (i32.const 256) (i64.load (i32.const 30000)))
    (i64.store (i32.const 264) (global.get $kept))
    (if (i32.gt_u (memory.size) (i32.const 1))
      (then (i64.store (i32.const 272) (i64.load (i32.const 100000)))))
    (i64.store (i32.const 30000) (i64.load (i32.const 16)))
    (global.set $kept (i64.load (i32.const 16)))
    (if (i32.and (i32.eq (memory.size) (i32.const 1)) (i32.eq (i32.load8_u (i32.const 16)) (i32.const 103)))
      (then (drop (memory.grow (i32.const 1)))))
    (if (i32.gt_u (memory.size) (i32.const 1))
      (then (i64.store (i32.const 100000) (i64.load (i32.const 16)))))
    (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 116)) (then (unreachable)))
    (call $answer (i32.const 256) (i32.const 24))))
