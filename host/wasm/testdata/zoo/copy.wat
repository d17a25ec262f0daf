;; Copies 1 MiB onto itself, one byte further and back: the ranges overlap.
;; Attacks: fuel for bulk operations by their bytes.
(module
  ;;common
  (memory (export "memory") 17)
  (func $attack (param $left i64) (result i32)
    (loop $again
      ;;repeat 50 (memory.copy (i32.const 65537) (i32.const 65536) (i32.const 1048575))
      ;;repeat 50 (memory.copy (i32.const 65536) (i32.const 65537) (i32.const 1048575))
      ;;again
    )
    (i32.const 4)))
