package encoder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/parleyhq/parley/internal/nlu/lanes"
)

// Bounds of what is read.
const (
	mostBytes  = 512 << 20
	mostHead   = 4 << 20
	mostLayers = 48
)

// Read makes an encoder of a model's weights (a file in the safetensors form,
// 32-bit floats) and its vocabulary. The weights become signed bytes.
func Read(weights, vocabulary []byte) (*Encoder, error) {
	e, err := read(weights, vocabulary)
	if err != nil {
		return nil, fmt.Errorf("read sentence encoder: %w", err)
	}
	return e, nil
}

func read(weights, vocabulary []byte) (*Encoder, error) {
	t, err := readTensors(weights)
	if err != nil {
		return nil, err
	}
	p, err := readPieces(vocabulary)
	if err != nil {
		return nil, err
	}
	const words = "embeddings.word_embeddings.weight"
	shape := t.head[words].Shape
	if len(shape) != 2 || shape[0] != len(p.id) || shape[1]%headSize != 0 || shape[1] == 0 || shape[1] > widest {
		return nil, fmt.Errorf("the model's words are of shape %v: it is for another vocabulary than one of %d pieces, or of another build", shape, len(p.id))
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	e := &Encoder{dim: shape[1], pieces: p, sum: crc32.Update(crc32.Checksum(weights, castagnoli), castagnoli, vocabulary)}
	d := e.dim
	e.words = table{dim: d}
	e.words.cells, e.words.scale = quantised(t.get(words, len(p.id), d), d)
	e.places = append([]float32(nil), t.get("embeddings.position_embeddings.weight", -1, d)...)
	if len(e.places) < most*d {
		t.fail(fmt.Errorf("the model has fewer than %d positions", most))
		return nil, t.err
	}
	e.places = e.places[:most*d]
	if kind := t.get("embeddings.token_type_embeddings.weight", -1, d); len(kind) >= d {
		for i := range e.places {
			e.places[i] += kind[i%d]
		}
	}
	e.norm = t.normal("embeddings.LayerNorm", d)
	for i := range mostLayers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		inner, ok := t.head[at+"intermediate.dense.weight"]
		if !ok {
			break
		}
		if len(inner.Shape) != 2 || inner.Shape[0]%lanes.Wide != 0 || inner.Shape[0] == 0 || inner.Shape[0] > widest {
			return nil, fmt.Errorf("layer %d has a shape that is not supported", i)
		}
		wide := inner.Shape[0]
		e.layers = append(e.layers, layer{
			query: t.linear(at+"attention.self.query", d, d), key: t.linear(at+"attention.self.key", d, d),
			value: t.linear(at+"attention.self.value", d, d), mix: t.linear(at+"attention.output.dense", d, d),
			wide: t.linear(at+"intermediate.dense", d, wide), narrow: t.linear(at+"output.dense", wide, d),
			afterMix: t.normal(at+"attention.output.LayerNorm", d), afterWide: t.normal(at+"output.LayerNorm", d),
		})
	}
	if len(e.layers) == 0 {
		return nil, errors.New("the model has no layers: its build is not supported")
	}
	return e, t.err
}

// tensors are a file's. After the first fault everything is empty.
type tensors struct {
	head map[string]tensor
	data []byte
	err  error
}

type tensor struct {
	Type   string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Places [2]int `json:"data_offsets"`
}

func readTensors(b []byte) (*tensors, error) {
	if len(b) < 8 || len(b) > mostBytes {
		return nil, fmt.Errorf("%d bytes are no model's weights", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > mostHead || n > uint64(len(b)-8) {
		return nil, errors.New("the weights are not in the safetensors form, or cut off")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &raw); err != nil {
		return nil, fmt.Errorf("read the weights' head: %w", err)
	}
	t := &tensors{head: map[string]tensor{}, data: b[8+n:]}
	for name, r := range raw {
		if name == "__metadata__" {
			continue
		}
		var one tensor
		if err := json.Unmarshal(r, &one); err != nil {
			return nil, fmt.Errorf("read the weights' head: %w", err)
		}
		t.head[name] = one
	}
	return t, nil
}

func (t *tensors) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// get returns a tensor of rows × cols numbers, or of any rows if they are -1,
// or of one row if they are 0. What is wrong with it leaves zeros.
func (t *tensors) get(name string, rows, cols int) []float32 {
	one, ok := t.head[name]
	want := max(rows, 1) * cols
	blank := func(why string) []float32 {
		t.fail(fmt.Errorf("the weights %s %s", name, why))
		return make([]float32, want)
	}
	a, z := one.Places[0], one.Places[1]
	size := 1
	for _, n := range one.Shape {
		if n < 0 || n > mostBytes || size*n > mostBytes {
			return blank("have an impossible shape")
		}
		size *= n
	}
	switch {
	case !ok:
		return blank("are missing")
	case one.Type != "F32":
		return blank("are not 32-bit floats")
	case a < 0 || z < a || z > len(t.data) || z-a != 4*size:
		return blank("lie off the file")
	case rows == -1 && (len(one.Shape) != 2 || one.Shape[1] != cols):
		return blank("have another shape than this program knows")
	case rows >= 0 && size != want:
		return blank("have another shape than this program knows")
	}
	out := make([]float32, size)
	for i := range out {
		v := math.Float32frombits(binary.LittleEndian.Uint32(t.data[a+4*i:]))
		if v != v || v > 1e6 || v < -1e6 {
			return blank("hold what is no number of a model")
		}
		out[i] = v
	}
	return out
}

func (t *tensors) normal(name string, n int) normal {
	return normal{gain: t.get(name+".weight", 0, n), bias: t.get(name+".bias", 0, n)}
}

func (t *tensors) linear(name string, in, out int) linear {
	l := linear{in: in, out: out, bias: t.get(name+".bias", 0, out)}
	l.rows, l.scale = quantised(t.get(name+".weight", out, in), in)
	return l
}

// quantised turns rows of width numbers into signed bytes with a scale each.
func quantised(x []float32, width int) (cells []int8, scale []float32) {
	cells, scale = make([]int8, len(x)), make([]float32, len(x)/width)
	for r := range scale {
		row := x[r*width : (r+1)*width]
		var top float32
		for _, v := range row {
			top = max(top, v, -v)
		}
		if top == 0 {
			continue
		}
		scale[r] = top / 127
		by, out := 127/top, cells[r*width:(r+1)*width]
		for k, v := range row {
			out[k] = int8(int32(v*by+128.5) - 128) // rounded: what is cut off is positive
		}
	}
	return cells, scale
}
