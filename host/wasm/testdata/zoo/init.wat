;; Copies a passive segment of 16 KiB again and again.
;; Attacks: fuel for bulk operations by their bytes.
(module
  ;;common
  (memory (export "memory") 2)
  (data $segment
    ;;repeat 256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  )
  (func $attack (param $left i64) (result i32)
    (loop $again
      ;;repeat 200 (memory.init $segment (i32.const 65536) (i32.const 0) (i32.const 16384))
      ;;again
    )
    (i32.const 4)))
