// A text as markdown, cheap to render again while it grows.
import { Component, type ComponentChild, type VNode } from "preact";
import { plain, Stream, type Block } from "../markdown/stream.ts";

class BlockView extends Component<{ block: Block }> {
  override shouldComponentUpdate(next: { block: Block }): boolean {
    return next.block !== this.props.block;
  }

  override render({ block }: { block: Block }): ComponentChild {
    return block.children;
  }
}

// written is a text as it was written; a long one in slices.
export const written = (text: string): ComponentChild => (text.length > 10_000 ? plain(text).children : text);

type Props = { text: string; complete: boolean };

export class Markdown extends Component<Props> {
  private readonly stream = new Stream();

  override shouldComponentUpdate(next: Props): boolean {
    return next.text !== this.props.text || next.complete !== this.props.complete;
  }

  override render({ text, complete }: Props): VNode {
    return (
      <div class="md" dir="auto">
        {this.stream.update(text, complete).map((b, i) => (
          <BlockView key={i} block={b} />
        ))}
      </div>
    );
  }
}
