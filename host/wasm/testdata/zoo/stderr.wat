;; Writes the whole of its memory to its standard error, by 16 buffers a time.
;; Attacks: fuel for host calls; the limit of what is kept.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (local $i i32)
    (loop $next
      (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $i) (i32.const 3))) (i32.const 0))
      (i32.store (i32.add (i32.const 1028) (i32.shl (local.get $i) (i32.const 3))) (i32.const 65536))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 16))))
    (loop $again
      (drop (call $write (i32.const 2) (i32.const 1024) (i32.const 16) (i32.const 512)))
      ;;again
    )
    (i32.const 4)))
