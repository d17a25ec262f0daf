;; Has the host decode 1 MiB, again and again, into handles that it has no room
;; for: what is refused is made and thrown away.
;; Attacks: fuel for host calls by their bytes.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 17)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (drop (call $bytes (i32.const 0) (i32.const 0) (i32.const 1048576)))
      ;;again
    )
    (i32.const 4)))
