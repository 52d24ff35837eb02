/** Completion scripts for bash, zsh and fish. Pure: the command tree to text. */
import type { Command } from 'commander';

export interface CompletedCommand {
  name: string;
  description: string;
  /** With their dashes, for example `--json`. */
  flags: { name: string; description: string; takesValue: boolean }[];
  /** Words for its first argument. */
  choices: string[];
  /** Its first argument is the name of a deployed function. */
  takesFunction: boolean;
  takesFolder: boolean;
}

/** What the scripts need to know of commander's tree. */
export function describeTree(program: Command): CompletedCommand[] {
  return program.commands.map((command) => {
    const [argument] = command.registeredArguments;
    const flags = command.options.flatMap((option) =>
      [option.short, option.long].flatMap((name) =>
        name ? [{ name, description: option.description, takesValue: option.required }] : [],
      ),
    );
    return {
      name: command.name(),
      description: command.description(),
      flags: [...flags, { name: '--help', description: 'show help', takesValue: false }],
      choices: argument?.argChoices ?? [],
      takesFunction: argument?.name() === 'name',
      takesFolder: argument?.name() === 'dir',
    };
  });
}

export function completionScript(shell: 'bash' | 'zsh' | 'fish', commands: CompletedCommand[]): string {
  return { bash, zsh, fish }[shell](commands);
}

/** The names of the deployed functions: first column of `fn list`, without its heading. */
const listNames = "fn list 2>/dev/null | awk 'NR > 1 { print $1 }'";

function bash(commands: CompletedCommand[]): string {
  const cases = commands.map((command) => {
    const words = [...command.choices, ...command.flags.map((flag) => flag.name)].join(' ');
    const names = command.takesFunction ? ` $([ "$COMP_CWORD" -eq 2 ] && ${listNames})` : '';
    const folders = command.takesFolder ? '\n      [[ $word == -* ]] || COMPREPLY+=($(compgen -d -- "$word"))' : '';
    return `    ${command.name}) COMPREPLY=($(compgen -W "${words}${names}" -- "$word"))${folders} ;;`;
  });
  return `# Completion of fn for bash: source <(fn completion bash)
_fn() {
  local word=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map((command) => command.name).join(' ')}" -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
  esac
}
complete -F _fn fn
`;
}

function zsh(commands: CompletedCommand[]): string {
  const names = commands.map((command) => `    ${quote(`${command.name}:${command.description}`)}`);
  const cases = commands.map((command) => {
    const flags = command.flags.map((flag) => quote(zshFlag(flag)));
    return `    ${command.name}) _arguments ${[...flags, quote(zshArgument(command))].join(' ')} ;;`;
  });
  return `#compdef fn
# Completion of fn for zsh: source <(fn completion zsh)
_fn_functions() {
  compadd -- \${(f)"$(${listNames})"}
}
_fn() {
  local -a commands
  commands=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _fn fn
`;
}

function zshFlag(flag: CompletedCommand['flags'][number]): string {
  const description = flag.description.replace(/[[\]:\\]/g, '\\$&');
  return `${flag.name}[${description}]${flag.takesValue ? ':value: ' : ''}`;
}

function zshArgument(command: CompletedCommand): string {
  if (command.takesFunction) return '1:function:_fn_functions';
  if (command.choices.length > 0) return `1:choice:(${command.choices.join(' ')})`;
  return command.takesFolder ? '1:folder:_files -/' : '*: : ';
}

function fish(commands: CompletedCommand[]): string {
  const lines = commands.flatMap((command) => {
    const within = `complete -c fn -n '__fish_seen_subcommand_from ${command.name}'`;
    return [
      `complete -c fn -f -n __fish_use_subcommand -a ${command.name} -d ${quote(command.description)}`,
      ...command.flags.map((flag) => `${within} ${fishFlag(flag)} -d ${quote(flag.description)}`),
      ...(command.choices.length > 0 ? [`${within} -f -a ${quote(command.choices.join(' '))}`] : []),
      ...(command.takesFunction ? [`${within} -f -a ${quote(`(${listNames})`)}`] : []),
    ];
  });
  return `# Completion of fn for fish: fn completion fish > ~/.config/fish/completions/fn.fish\n${lines.join('\n')}\n`;
}

function fishFlag(flag: CompletedCommand['flags'][number]): string {
  const name = flag.name.startsWith('--') ? `-l ${flag.name.slice(2)}` : `-s ${flag.name.slice(1)}`;
  return flag.takesValue ? `${name} -r` : name;
}

/** One word for any of the three shells. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
