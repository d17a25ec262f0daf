;; Asks for bulk operations of 2^32-1 bytes, which trap, and of none at the end
;; of its memory, which do not: their charge must neither wrap nor be negative.
;; Attacks: fuel for bulk operations by their bytes.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (memory.fill (i32.const 65536) (i32.const 0) (i32.const 0))
      (memory.copy (i32.const 65536) (i32.const 0) (i32.const 0))
      ;;again
    )
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 0xffffffff))
    (i32.const 4)))
