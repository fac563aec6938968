import { setTimeout as sleep } from 'node:timers/promises';
import type { Account } from './accounts.ts';

interface Property {
  type: 'string' | 'integer' | 'number' | 'object';
  description: string;
  enum?: readonly string[];
  minimum?: number;
  maximum?: number;
}

interface InputSchema {
  type: 'object';
  properties: Record<string, Property>;
  required?: readonly string[];
}

interface ToolResult {
  content: { type: 'text'; text: string }[];
  isError?: boolean;
}

/** What a tool may know about the call besides its arguments. */
interface ToolCall {
  account: Account;
  /** Aborted when the client cancels or the sandbox closes. */
  signal: AbortSignal;
  /** Sends `notifications/progress`, where the caller asked for it and the reply is a stream. */
  progress(done: number, total: number): void;
}

export interface Tool {
  name: string;
  integration: string;
  description: string;
  inputSchema: InputSchema;
  annotations: Record<string, boolean>;
  call(args: Record<string, unknown>, call: ToolCall): ToolResult | Promise<ToolResult>;
}

const reads = { readOnlyHint: true, idempotentHint: true };

/**
 * The sandbox's tools over a fresh in-memory data set. Each call of this function starts again
 * from the same data; what `linear_add_comment` writes is kept until the sandbox closes.
 */
export function createTools(): Map<string, Tool> {
  const issues = [
    {
      id: 'ENG-41',
      title: 'Export times out on large workspaces',
      state: 'in progress',
      assignee: 'ada',
      comments: ['Happens above 10,000 rows.'],
    },
    {
      id: 'ENG-42',
      title: 'Login page forgets the return address',
      state: 'todo',
      assignee: 'grace',
      comments: [],
    },
    {
      id: 'ENG-43',
      title: 'Dark mode: unreadable table headers',
      state: 'done',
      assignee: 'ada',
      comments: ['Fixed.', 'Confirmed on staging.'],
    },
    {
      id: 'OPS-7',
      title: 'Rotate the staging certificates',
      state: 'todo',
      assignee: 'edsger',
      comments: [],
    },
  ] as { id: string; title: string; state: string; assignee: string; comments: string[] }[];

  const code = [
    {
      repository: 'example/api',
      path: 'src/export.ts',
      text: 'export async function exportRows(limit: number) {\n  return readRows(limit);\n}',
    },
    {
      repository: 'example/api',
      path: 'src/login.ts',
      text: 'const returnTo = url.searchParams.get("return_to");\nredirect(returnTo);',
    },
    {
      repository: 'example/web',
      path: 'src/table.css',
      text: 'th { color: var(--header); }\ntd { color: var(--text); }',
    },
  ];

  const stock: Record<string, number> = { 'MAT-100': 250, 'MAT-200': 0, 'MAT-300': 12 };

  const tools: Tool[] = [
    {
      name: 'linear_get_issue',
      integration: 'linear',
      description: 'One Linear issue by its ID, with its comments.',
      inputSchema: {
        type: 'object',
        properties: { id: { type: 'string', description: 'Issue ID, such as ENG-42' } },
        required: ['id'],
      },
      annotations: reads,
      call({ id }) {
        const issue = issues.find((candidate) => candidate.id === id);
        return issue ? json(issue) : failure(`No issue has the ID ${id}.`);
      },
    },
    {
      name: 'linear_list_issues',
      integration: 'linear',
      description: 'Linear issues, filtered by state, assignee, or words in the title.',
      inputSchema: {
        type: 'object',
        properties: {
          state: {
            type: 'string',
            description: 'Only this state',
            enum: ['todo', 'in progress', 'done'],
          },
          assignee: { type: 'string', description: 'Only this assignee' },
          query: { type: 'string', description: 'Words to look for in the title' },
        },
      },
      annotations: reads,
      call({ state, assignee, query }) {
        const found = issues.filter(
          (issue) =>
            (state === undefined || issue.state === state) &&
            (assignee === undefined || issue.assignee === assignee) &&
            containsWords(issue.title, query),
        );
        return json(found.map(({ comments, ...issue }) => issue));
      },
    },
    {
      name: 'linear_add_comment',
      integration: 'linear',
      description: 'Adds a comment to a Linear issue. Called twice, it adds two.',
      inputSchema: {
        type: 'object',
        properties: {
          id: { type: 'string', description: 'Issue ID' },
          text: { type: 'string', description: 'The comment' },
        },
        required: ['id', 'text'],
      },
      annotations: { readOnlyHint: false, idempotentHint: false, destructiveHint: false },
      call({ id, text: comment }) {
        const issue = issues.find((candidate) => candidate.id === id);
        if (!issue) return failure(`No issue has the ID ${id}.`);
        issue.comments.push(String(comment));
        return json({ id, comments: issue.comments.length });
      },
    },
    {
      name: 'github_search_code',
      integration: 'github',
      description: 'Lines of code that contain every word of the query.',
      inputSchema: {
        type: 'object',
        properties: {
          query: { type: 'string', description: 'Words to look for' },
          repository: { type: 'string', description: 'Only this repository, as owner/name' },
        },
        required: ['query'],
      },
      annotations: reads,
      call({ query, repository }) {
        const found = code
          .filter((file) => repository === undefined || file.repository === repository)
          .flatMap((file) =>
            file.text.split('\n').map((line, index) => ({
              repository: file.repository,
              path: file.path,
              line: index + 1,
              text: line.trim(),
            })),
          )
          .filter((hit) => containsWords(hit.text, query));
        return json(found);
      },
    },
    {
      name: 'github_create_issue',
      integration: 'github',
      description: "Always fails: the sandbox's repositories are archived. Shows isError.",
      inputSchema: {
        type: 'object',
        properties: {
          repository: { type: 'string', description: 'owner/name' },
          title: { type: 'string', description: 'Title of the issue' },
        },
        required: ['repository', 'title'],
      },
      annotations: { readOnlyHint: false, idempotentHint: false, destructiveHint: false },
      call: ({ repository }) =>
        failure(`${repository} is archived and does not accept new issues.`),
    },
    {
      name: 'sap-s4hana-rfc_invoke_bapi',
      integration: 'sap-s4hana-rfc',
      description: 'Invokes a BAPI. The sandbox knows BAPI_MATERIAL_AVAILABILITY.',
      inputSchema: {
        type: 'object',
        properties: {
          bapi: { type: 'string', description: 'Name of the BAPI' },
          parameters: {
            type: 'object',
            description: 'Its parameters, such as {"MATERIAL":"MAT-100","QUANTITY":20}',
          },
        },
        required: ['bapi'],
      },
      annotations: { destructiveHint: false },
      call({ bapi, parameters = {} }) {
        if (bapi !== 'BAPI_MATERIAL_AVAILABILITY') return failure(`${bapi} is not known here.`);
        const { MATERIAL: material, QUANTITY: quantity } = parameters as Record<string, unknown>;
        if (typeof material !== 'string' || !Object.hasOwn(stock, material)) {
          return failure(`Material ${JSON.stringify(material)} does not exist.`);
        }
        const inStock = stock[material] ?? 0;
        const wanted = typeof quantity === 'number' ? quantity : 0;
        return json({ MATERIAL: material, IN_STOCK: inStock, AVAILABLE: inStock >= wanted });
      },
    },
    {
      name: 'notion_search_pages',
      integration: 'notion',
      description: "Answers credentials_unavailable: this integration's credentials are revoked.",
      inputSchema: {
        type: 'object',
        properties: { query: { type: 'string', description: 'Words to look for' } },
        required: ['query'],
      },
      annotations: reads,
      call: unreachable,
    },
    {
      name: 'salesforce_run_query',
      integration: 'salesforce',
      description: 'Answers -32601: this integration is disabled.',
      inputSchema: { type: 'object', properties: {} },
      annotations: {},
      call: unreachable,
    },
    {
      name: 'platform_whoami',
      integration: 'platform',
      description: 'Who holds the key, and which integrations it reaches.',
      inputSchema: { type: 'object', properties: {} },
      annotations: reads,
      call: (_args, { account }) =>
        json({ holder: account.holder, integrations: account.integrations }),
    },
    {
      name: 'platform_echo',
      integration: 'platform',
      description: 'Returns its arguments as they came.',
      inputSchema: { type: 'object', properties: {} },
      annotations: reads,
      call: (args) => json(args),
    },
    {
      name: 'platform_wait',
      integration: 'platform',
      description: 'Takes as long as it is told, with four progress notifications on the way.',
      inputSchema: {
        type: 'object',
        properties: {
          seconds: { type: 'number', description: 'How long', minimum: 0, maximum: 600 },
        },
        required: ['seconds'],
      },
      annotations: reads,
      async call({ seconds }, { signal, progress }) {
        const started = performance.now();
        // Progress goes ahead of each quarter: one sent right before the reply would be lost on the
        // SDK's client (1.32), which drops its progress handler before it has run.
        for (let done = 0; done < 4; done++) {
          progress(done, 4);
          await sleep(Number(seconds) * 250, undefined, { signal });
        }
        return text(`Waited ${Math.round(performance.now() - started)} ms.`);
      },
    },
  ];
  return new Map(tools.map((tool) => [tool.name, tool]));
}

/**
 * Says what is wrong with a call's arguments, in a few words; undefined when nothing is.
 * Knows the part of JSON Schema that the tools above use: type, required, enum, minimum, maximum.
 */
export function invalidArguments(
  schema: InputSchema,
  args: Record<string, unknown>,
): string | undefined {
  const missing = schema.required?.find((name) => !Object.hasOwn(args, name));
  if (missing !== undefined) return `${missing} is required`;
  for (const [name, property] of Object.entries(schema.properties)) {
    if (!Object.hasOwn(args, name)) continue;
    const value = args[name];
    if (!hasType(value, property.type)) return `${name} must be of type ${property.type}`;
    if (property.enum && !property.enum.includes(String(value))) {
      return `${name} must be one of: ${property.enum.join(', ')}`;
    }
    if (property.minimum !== undefined && Number(value) < property.minimum) {
      return `${name} must be at least ${property.minimum}`;
    }
    if (property.maximum !== undefined && Number(value) > property.maximum) {
      return `${name} must be at most ${property.maximum}`;
    }
  }
  return undefined;
}

function hasType(value: unknown, type: Property['type']): boolean {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'object') {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }
  return typeof value === type;
}

function containsWords(line: string, query: unknown): boolean {
  if (typeof query !== 'string') return true;
  const lower = line.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => lower.includes(word));
}

function text(value: string): ToolResult {
  return { content: [{ type: 'text', text: value }] };
}

function json(value: unknown): ToolResult {
  return text(JSON.stringify(value));
}

function failure(sentence: string): ToolResult {
  return { ...text(sentence), isError: true };
}

function unreachable(): never {
  throw new Error('the integration is answered for before its tool is called');
}
