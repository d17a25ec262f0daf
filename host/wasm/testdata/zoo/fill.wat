;; 100 fills of 1 MiB in a row, without a branch between them.
;; Attacks: fuel for bulk operations by their bytes.
(module
  ;;common
  (memory (export "memory") 17)
  (func $attack (param $left i64) (result i32)
    (loop $again
      ;;repeat 100 (memory.fill (i32.const 65536) (i32.const %i) (i32.const 1048576))
      ;;again
    )
    (i32.const 4)))
