;; 5,000 blocks, one in the other.
;; Attacks: whatever reads a module holds no frame of the host's for each block.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    ;;repeat 5000 block
    ;;repeat 5000 end
    (call $answer (i32.const 16) (i32.const 1))))
